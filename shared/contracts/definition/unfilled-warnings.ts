import { suggestions } from "../../text/nearest-name.ts";
import { stepsInLoops } from "./branches.ts";
import { codeOf, textsInCode } from "./code.ts";
import { knownStateKeys } from "./graph.ts";
import { templateOf } from "./step.ts";
import { placeholdersOf } from "./template.ts";
import { unfilledPlaceholders } from "./unfilled-placeholders.ts";
import type { Json } from "../json.ts";
import type { FieldError } from "../../errors.ts";
import type { Suggest } from "../../text/nearest-name.ts";
import type { AgentDocument } from "./agent.ts";
import type { OrchestrationDocument } from "./orchestration.ts";
import type { Step } from "./step.ts";

/** The most warnings about one field. */
const MAX_PLACES = 5;

/**
 * A warning for each place in a text that looks like a placeholder and goes out as it is written: another spelling, or a
 * field in which no placeholder is filled in. It is no error, because a prompt may be about such texts.
 */
export function unfilledWarnings(orchestration: OrchestrationDocument): FieldError[] {
  const suggest = suggestions();
  const known = knownStateKeys(orchestration);
  const byLowercase = new Map([...known].map((key) => [key.toLowerCase(), key]));
  const outputs = new Map(orchestration.steps.map(({ id, output_key }) => [id, output_key]));
  const inLoops = stepsInLoops(orchestration.steps);
  const ofState = Object.entries(orchestration.state_schema).flatMap(([key, { default: preset }]) =>
    placesIn(writtenIn(preset)).map((place) => ({
      path: `state_schema.${key}.default`,
      message: `${place} goes out as it is written: a default is the same in every run`,
    })),
  );
  const ofSteps = orchestration.steps.flatMap((step, index) => {
    const source = templateOf(step);
    const ofTemplate =
      source === null
        ? []
        : unfilledPlaceholders(source.template, { known, byLowercase, outputs, inLoop: inLoops.has(step.id) })
            .slice(0, MAX_PLACES)
            .map(({ place, fault, key }) => ({
              path: `steps[${index}].${source.field}`,
              message: `${place} ${fault}${unknownKey(key, known, suggest)}`,
            }));
    return [...ofTemplate, ...textsWithoutPlaces(step, `steps[${index}]`)];
  });
  return [...ofState, ...ofSteps];
}

/** A warning for each placeholder in the system prompt of an agent, where none is filled in. */
export function agentUnfilledWarnings({ system_prompt }: AgentDocument): FieldError[] {
  return placesIn(system_prompt).map((place) => ({
    path: "system_prompt",
    message: `${place} goes out as it is written: write it in the prompt_template of a step`,
  }));
}

function unknownKey(key: string | null, known: ReadonlySet<string>, suggest: Suggest): string {
  return key === null || known.has(key) ? "" : suggest(key, known);
}

/** Warnings about placeholders in the fields of a step that people and models get as they are written. */
function textsWithoutPlaces(step: Step, path: string): FieldError[] {
  return plainTexts(step).flatMap(({ field, text, instead }) =>
    placesIn(text).map((place) => ({
      path: `${path}.${field}`,
      message: `${place} goes out as it is written: ${instead}`,
    })),
  );
}

/** The texts of a value, as one. */
function writtenIn(value: Json | readonly string[] | undefined): string {
  if (typeof value === "string") return value;
  return value === undefined || value === null ? "" : JSON.stringify(value);
}

type PlainText = { field: string; text: string; instead: string };

function plainTexts(step: Step): PlainText[] {
  switch (step.type) {
    case "human":
      return [
        ...step.human_fields.flatMap(
          ({ label, placeholder = "", description = "", default: preset, options }, i) =>
            Object.entries({ label, placeholder, description, default: preset, options }).map(
              ([name, value]) => ({
                field: `human_fields[${i}].${name}`,
                text: writtenIn(value),
                instead: "write it in human_prompt",
              }),
            ),
        ),
        ...[step, ...step.escalate_to].flatMap(({ approvers }, i) => ({
          field: i === 0 ? "approvers" : `escalate_to[${i - 1}].approvers`,
          text: writtenIn(approvers),
          instead: "name the persons, or let several steps ask different ones",
        })),
      ];
    case "switch":
      return Object.keys(step.switch_cases).map((label) => ({
        field: `switch_cases.${label}`,
        text: label,
        instead: "cases are compared as they are: compare in switch_expression",
      }));
    case "llm":
    case "agent":
      return [
        {
          field: "output_schema",
          text: writtenIn(step.output_schema ?? undefined),
          instead: "write it in prompt_template",
        },
      ];
    case "evaluator":
      return Object.entries(step.route_descriptions).map(([label, text]) => ({
        field: `route_descriptions.${label}`,
        text,
        instead: "write it in evaluator_prompt",
      }));
    case "transform": {
      const code = codeOf(step);
      const texts = code === null ? [] : textsInCode(code);
      const instead = "in code, a template literal has ${state.key}";
      return texts.map((text) => ({ field: "transform_code", text, instead }));
    }
    default:
      return [];
  }
}

function placesIn(text: string): string[] {
  const places = placeholdersOf(text).map(({ from, to }) => text.slice(from, to));
  return [...new Set(places)].slice(0, MAX_PLACES);
}
