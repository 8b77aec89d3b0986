import { nearestName } from "../../nearest-name.ts";
import type { FieldError } from "../../errors.ts";
import { AgentDocument } from "./agent.ts";
import { HumanFieldRecord } from "./human.ts";
import { OrchestrationDocument, StateField } from "./orchestration.ts";
import { Retry, stepShapes } from "./step.ts";
import { toolShapes } from "./tool.ts";

export type DefinitionKind = "orchestrations" | "agents" | "tools";

/** The fields of a record: those that are read, and those of the predecessor and of our own answers that may be there. */
type Fields = {
  what: string;
  known: ReadonlySet<string>;
  inner: { [field: string]: { of: Fields; each: "value" | "item" | "entry" } };
};

const ofShapes = (...shapes: object[]): string[] => shapes.flatMap((shape) => Object.keys(shape));

function fields(what: string, known: readonly string[], inner: Fields["inner"] = {}): Fields {
  return { what, known: new Set(known), inner };
}

/** Fields that a definition of the predecessor may carry and that mean nothing here. */
const PREDECESSOR = {
  orchestrations: ["created_at", "updated_at", "edges"],
  agents: [
    "created_at",
    "updated_at",
    "repos",
    "db_configs",
    "orchestration_id",
    "delegate_agent_ids",
    "skip_default_tools",
  ],
  tools: ["created_at", "updated_at", "id"],
  steps: [
    "cache_responses_enabled",
    "cache_semantic_enabled",
    "cache_response_ttl_seconds",
    "cache_response_threshold",
    "cache_tools_enabled",
    "cache_tool_ttl_seconds",
    "include_full_history",
  ],
  humanFields: ["placeholder", "description", "default"],
} as const;

/** What our own answers add to a definition: what was read may be saved again. */
const ANSWERED = ["version", "id"];

const step = fields("step", [...ofShapes(...Object.values(stepShapes)), ...PREDECESSOR.steps], {
  retry: { of: fields("retry", ofShapes(Retry.shape)), each: "value" },
  human_fields: {
    of: fields("field", [...ofShapes(HumanFieldRecord.shape), ...PREDECESSOR.humanFields]),
    each: "item",
  },
});

const kinds: { [Kind in DefinitionKind]: Fields } = {
  orchestrations: fields(
    "orchestration",
    [...ofShapes(OrchestrationDocument.shape), ...PREDECESSOR.orchestrations, ...ANSWERED],
    {
      steps: { of: step, each: "item" },
      state_schema: { of: fields("key of state", ofShapes(StateField.shape)), each: "entry" },
    },
  ),
  agents: fields("agent", [...ofShapes(AgentDocument.shape), ...PREDECESSOR.agents, ...ANSWERED]),
  tools: fields("tool", [...ofShapes(...Object.values(toolShapes)), ...PREDECESSOR.tools, ...ANSWERED]),
};

/** At most so many are reported: a body of another kind may have a hundred thousand. */
const MAX_REPORTED = 50;

/**
 * The fields of a definition that nothing reads, each with the known field that is spelled most like it. A definition is a
 * program: a mistyped limit that is dropped is no limit. A step may carry the fields of all step types, as the
 * predecessor's do, and a field that is null or "" says nothing, so it is not reported.
 */
export function unknownFields(kind: DefinitionKind, json: unknown): FieldError[] {
  const found: FieldError[] = [];
  collect(json, kinds[kind], "", found);
  return found;
}

function collect(json: unknown, { what, known, inner }: Fields, path: string, found: FieldError[]): void {
  for (const [name, value] of entriesOf(json)) {
    if (found.length >= MAX_REPORTED) return;
    const at = path === "" ? name : `${path}.${name}`;
    const below = Object.hasOwn(inner, name) ? inner[name] : undefined;
    if (below?.each === "value") collect(value, below.of, at, found);
    else if (below?.each === "entry") {
      for (const [key, entry] of entriesOf(value)) collect(entry, below.of, `${at}.${key}`, found);
    } else if (below !== undefined && Array.isArray(value)) {
      for (const [i, item] of value.entries()) collect(item, below.of, `${at}[${i}]`, found);
    } else if (!known.has(name) && value !== null && value !== "") {
      const nearest = nearestName(name, known);
      const hint = nearest === null ? "" : `: did you mean "${nearest.name}"?`;
      found.push({
        path: at,
        message: `is not a field of ${/^[aeiou]/.test(what) ? "an" : "a"} ${what}${hint}`,
      });
    }
  }
}

function entriesOf(json: unknown): [string, unknown][] {
  return typeof json === "object" && json !== null && !Array.isArray(json) ? Object.entries(json) : [];
}
