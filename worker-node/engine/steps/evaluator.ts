import { z } from "zod";
import { Conversation } from "../conversation.ts";
import { TerminalError } from "../errors.ts";
import { named } from "../events.ts";
import { findJson } from "../find-json.ts";
import { compose } from "../prompt.ts";
import { modelOf } from "./model-of.ts";
import { output } from "./output.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { StepResult, ToolSpec } from "../ports.ts";
import type { Executor } from "./executor.ts";

/** How often a model is asked for a route before the default is taken, or the step fails. */
const ASKS = 3;
const TOOL = "choose_route";

const SYSTEM = `You decide which way a workflow goes on. Call the tool ${TOOL} once. If you cannot call tools, answer with
JSON alone: {"route": "<label>", "reasoning": "<why>"}.`;

type Choice = { label: string; reasoning: string };

/**
 * Lets a model choose one of the labels of `route_map`. An answer that is no label is asked for again; after three such
 * answers `default_route` is taken, or the step fails with `no_route`. Never is a route taken that nobody chose.
 */
export const evaluator: Executor<"evaluator"> = async (step, context) => {
  const talk = new Conversation(context, [
    { role: "system", content: SYSTEM },
    { role: "user", content: `${await compose(step, step.evaluator_prompt, context)}\n\n${routesOf(step)}` },
  ]);
  while (talk.answers < ASKS) {
    const answer = await talk.ask({
      model: modelOf(step.model),
      tools: [routeTool(step)],
      toolChoice: "required",
    });
    const choice = choiceOf(answer, step);
    if (choice !== null) return result(choice, talk, step);
    const labels = Object.keys(step.route_map).join(", ");
    const correction = `That names no route. Choose one of these labels, exactly as written: ${labels}.`;
    if (answer.tool_calls.length > 0) talk.answerCalls(correction);
    else talk.add({ role: "user", content: correction });
    await talk.commit();
  }
  if (step.default_route === null) {
    throw new TerminalError(
      "no_route",
      `the model did not choose a route in ${ASKS} answers, and there is no default_route`,
    );
  }
  const reasoning = `The model did not choose a route in ${ASKS} answers: this is the default.`;
  return result({ label: step.default_route, reasoning }, talk, step);
};

function result({ label, reasoning }: Choice, talk: Conversation, step: StepOf<"evaluator">): StepResult {
  const target = step.route_map[label] ?? null;
  return {
    set: {
      ...output(step, label),
      [`_routing_decision_${step.id}`]: label,
      [`_routing_reasoning_${step.id}`]: reasoning,
    },
    route: { target },
    events: [],
    after: [{ type: "routing_decision", ...named(step), decision: label, target_step_id: target, reasoning }],
    usage: talk.usage,
    effects: talk.effects,
  };
}

function routesOf(step: StepOf<"evaluator">): string {
  const lines = Object.keys(step.route_map).map((label) => {
    const description = step.route_descriptions[label];
    return description === undefined || description === "" ? `- ${label}` : `- ${label}: ${description}`;
  });
  return ["## Routes", ...lines].join("\n");
}

function routeTool(step: StepOf<"evaluator">): ToolSpec {
  return {
    name: TOOL,
    description: "Chooses the way on.",
    parameters: {
      type: "object",
      properties: {
        route: { type: "string", enum: Object.keys(step.route_map) },
        reasoning: { type: "string", description: "Why, in one or two sentences." },
      },
      required: ["route", "reasoning"],
    },
  };
}

const Chosen = z.object({ route: z.string(), reasoning: z.string().default("") });

/** The label in an answer: in its tool call, else in JSON in its text. Letter case and surrounding space do not count. */
function choiceOf(
  answer: { content: string; tool_calls: readonly { args: Json }[] },
  step: StepOf<"evaluator">,
): Choice | null {
  const candidates = [...answer.tool_calls.map((call) => call.args), ...findJson(answer.content)];
  for (const candidate of candidates) {
    const chosen = Chosen.safeParse(candidate);
    if (!chosen.success) continue;
    const wanted = chosen.data.route.trim().toLowerCase();
    const labels = Object.keys(step.route_map);
    const label =
      labels.find((l) => l === chosen.data.route) ?? labels.find((l) => l.toLowerCase() === wanted);
    if (label !== undefined) return { label, reasoning: chosen.data.reasoning };
  }
  return null;
}
