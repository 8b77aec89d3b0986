import { RequestTooLong, RetryableError, TerminalError } from "./step-errors.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { Answer } from "./conversation-turns.ts";
import type { AnswerText } from "./deltas.ts";
import type { Message, ModelAnswer, StepContext, ToolSpec } from "./ports.ts";

/** The most answers of models in one visit, those of delegated tasks included. */
const MAX_ANSWERS = 500;

/** Space, and characters without a shape, such as a zero-width space: a model that writes nothing else has said nothing. */
const NOTHING_VISIBLE = /^[\s\p{Cc}\p{Cf}]*$/u;

export function saysNothing(text: string): boolean {
  return NOTHING_VISIBLE.test(text);
}

/**
 * The text of an answer that has no tool calls.
 * @throws RetryableError `empty_answer`: a model that had nothing to say often has at the next try
 */
export function textOf({ content, parts = null }: { content: string; parts?: Json }): string {
  if (!saysNothing(content)) return content;
  const thoughts = parts === null ? "" : ", and with thoughts: its server may take the answer for one";
  // The model has answered, so the next call is another one and gets another key.
  throw new RetryableError("empty_answer", `the model answered with no text${thoughts}`, { answered: true });
}

/** Codes of a request for a summary that has no answer. Limits are estimates, so the conversation may go on without the summary. */
const NO_SUMMARY: ReadonlySet<string> = new Set(["content_filter", "output_limit"]);

/**
 * Null for the error of a request for a summary that no other try would answer. The step goes on without the summary, and is charged for it.
 * @throws any other error
 */
export function noSummary(context: Pick<StepContext, "chargeFailed">, key: string, error: unknown): null {
  const isRefused = error instanceof TerminalError && NO_SUMMARY.has(error.code);
  if (!isRefused && !(error instanceof RequestTooLong)) throw error;
  context.chargeFailed(key);
  return null;
}

/** How to call a model: its name, the tools it gets, and what publishes its text as it arrives. */
export type ModelCall = {
  model: string | null;
  tools: readonly ToolSpec[];
  toolChoice: "auto" | "required";
  text?: AnswerText;
};

/** The effect key of a call, from its name inside the visit. After a crash the same call has the same key. */
export function effectKey(context: StepContext, call: string): string {
  return `${context.effectBase}:${call}${context.effectSuffix}`;
}

/**
 * Requests an answer to messages, and publishes its text as it arrives.
 * @param asked `answers`: how many answers the visit has committed. `effect` records the call as an effect and returns its key; it throws
 *   unless this worker may still move the run
 * @throws TerminalError `max_turns` when the visit has had too many answers
 */
export async function requestAnswer(
  context: StepContext,
  asked: {
    answers: number;
    messages: readonly Message[];
    modelCall: ModelCall;
    effect(this: void): Promise<string>;
  },
): Promise<{ answer: Answer; usage: ModelAnswer["usage"] }> {
  const { answers, messages, modelCall, effect } = asked;
  const { model, tools, toolChoice, text: published } = modelCall;
  if (answers >= MAX_ANSWERS)
    throw new TerminalError("max_turns", `the step has had ${MAX_ANSWERS} answers, and is not done`);
  const {
    text,
    tool_calls,
    parts = null,
    usage,
  } = await context.models.generate({
    model,
    messages,
    tools,
    toolChoice,
    effectKey: await effect(),
    signal: context.signal,
    onText: (piece) => published?.push(piece),
    onRestart: () => published?.restart(),
    onContinue: () => published?.continue(),
  });
  published?.flush();
  return { answer: { role: "assistant", content: text, tool_calls, parts }, usage };
}
