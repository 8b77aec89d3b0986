import { z } from "zod";
import { modelOf } from "../../../shared/contracts/model-name.ts";
import { Conversation } from "../conversation.ts";
import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { jsonOfAnswer } from "../find-json.ts";
import { trimMarks } from "../trim-marks.ts";
import { withoutThoughts } from "../without-thoughts.ts";
import { argumentsInCall } from "../tool-arguments.ts";
import { composePrompt } from "../prompt.ts";
import { outputOf } from "../run-state.ts";
import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { Executor, StepResult, ToolSpec } from "../ports.ts";

/** The most answers that a model may give before the step takes the default route, or fails. */
const MAX_ANSWERS = 3;
/** An answer with more values than this chooses nothing: 1 MB of text may have a hundred thousand of them. */
const MAX_CANDIDATES = 1_000;
const TOOL = "choose_route";

const SYSTEM = `You decide which way a workflow goes on. Call the tool ${TOOL} once. If you cannot call tools, answer with
JSON alone: {"route": "<label>", "reasoning": "<why>"}.`;

type Choice = { label: string; reasoning: string };

/**
 * Lets a model choose one of the labels of `route_map`. After an answer that names no label the model gets a correction;
 * after three such answers the step takes `default_route`, or fails with `no_route`. It never guesses a route.
 */
export const evaluator: Executor<"evaluator"> = async (step, context) => {
  const conversation = new Conversation(context, [
    { role: "system", content: SYSTEM },
    {
      role: "user",
      content: await composePrompt(step, step.evaluator_prompt, context, [routesOf(step)]),
    },
  ]);
  while (conversation.answerCount < MAX_ANSWERS) {
    const answer = await conversation.callModel({
      model: modelOf(step.model),
      tools: [routeTool(step)],
      toolChoice: "required",
    });
    const choice = choiceOf(answer, step);
    if (choice !== null) return result(choice, conversation, step);
    const labels = Object.keys(step.route_map).join(", ");
    const correction = `That names no route. Choose one of these labels, exactly as written: ${labels}.`;
    if (answer.tool_calls.length > 0) conversation.closeCalls(correction);
    else conversation.add({ role: "user", content: correction });
    await conversation.commit();
  }
  if (step.default_route === null) {
    throw new TerminalError(
      "no_route",
      `the model did not choose a route in ${MAX_ANSWERS} answers, and there is no default_route`,
    );
  }
  const reasoning = `The model did not choose a route in ${MAX_ANSWERS} answers: this is the default.`;
  return result({ label: step.default_route, reasoning }, conversation, step);
};

function result(
  { label, reasoning }: Choice,
  conversation: Conversation,
  step: StepOf<"evaluator">,
): StepResult {
  const target = step.route_map[label] ?? null;
  return {
    set: {
      ...outputOf(step, label),
      [`_routing_decision_${step.id}`]: label,
      [`_routing_reasoning_${step.id}`]: reasoning,
    },
    route: { target },
    events: [],
    after: [
      { type: "routing_decision", ...namesOf(step), decision: label, target_step_id: target, reasoning },
    ],
    usage: conversation.usage,
    effects: conversation.effects,
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

/** Models write the labels `true` and `1` without quotation marks. The reasoning decides nothing: one of another type is left out. */
const Chosen = z.object({
  route: z.union([z.string(), z.number(), z.boolean()]).transform(String),
  reasoning: z.string().catch(""),
});

/**
 * The label in an answer: in its tool call, else in JSON in its text, else the text itself when it is nothing but a label. Letter
 * case and surrounding space do not matter. Two labels in one answer are no choice.
 */
function choiceOf(
  answer: { content: string; tool_calls: readonly { args: Json }[] },
  step: StepOf<"evaluator">,
): Choice | null {
  const inCalls = choicesIn(
    answer.tool_calls.map((call) => call.args),
    step,
  );
  const [first, ...others] = inCalls.length > 0 ? inCalls : choicesIn(valuesIn(answer.content), step);
  return first !== undefined && others.every(({ label }) => label === first.label) ? first : null;
}

function valuesIn(content: string): Json[] {
  const values = jsonOfAnswer(content);
  return values.length > 0
    ? values
    : [trimMarks(withoutThoughts(content), { start: "*_`'\"", end: "*_`'\"." })];
}

function choicesIn(candidates: readonly Json[], step: StepOf<"evaluator">): Choice[] {
  if (candidates.length > MAX_CANDIDATES) return [];
  const labels = Object.keys(step.route_map);
  return candidates.flatMap((candidate) => {
    const isBare = candidate !== null && typeof candidate !== "object";
    const chosen = Chosen.safeParse(isBare ? { route: candidate } : argumentsInCall(candidate, TOOL));
    if (!chosen.success) return [];
    const { route, reasoning } = chosen.data;
    const lowercase = route.trim().toLowerCase();
    const label = labels.find((l) => l === route) ?? labels.find((l) => l.toLowerCase() === lowercase);
    return label === undefined ? [] : [{ label, reasoning }];
  });
}
