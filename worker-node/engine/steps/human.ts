import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { TerminalError } from "../errors.ts";
import { named } from "../events.ts";
import { clip } from "../prompt.ts";
import { asText, lookUp } from "../run-state.ts";
import { render } from "../template.ts";
import type { StepContext, StepQuestion } from "../ports.ts";
import type { Executor } from "./executor.ts";

/** Of the rendered question: it stands in events as it is. What is to be looked at at length comes by `input_keys`. */
const PROMPT_CHARS = 10_000;
const CONTEXT_CHARS = 10_000;

/**
 * Asks a person, and takes up no worker until the answer is there. It is stored under `output_key` and always as
 * `human_response` too. A question that nobody answers in `human_timeout_seconds` fails the step.
 */
export const human: Executor<"human"> = async (step, context) => {
  const { reply } = context;
  switch (reply?.is) {
    case "answered":
      return {
        set: { [step.output_key ?? "human_response"]: reply.answer, human_response: reply.answer },
        events: [{ type: "human_response", ...named(step), response: reply.answer }],
        usage: [],
        effects: [],
        waitedMs: reply.openForMs,
      };
    case "expired":
      throw new TerminalError("human_timeout", `nobody answered within ${step.human_timeout_seconds} s`);
    case "open":
      // Woken by something else: what was asked is not told again, but that the run sleeps.
      return { ask: null, events: [{ type: "paused" }] };
    case undefined:
      return questionOf(step, context);
  }
};

async function questionOf(step: StepOf<"human">, context: StepContext): Promise<StepQuestion> {
  const rendered = clip(await render(step.human_prompt, context), PROMPT_CHARS);
  // Postgres keeps no such character in text, and a model may have written one.
  const prompt = rendered.replaceAll("\u0000", "");
  const fields = step.human_fields;
  const timeoutMs = step.human_timeout_seconds * 1_000;
  return {
    ask: { prompt, fields, timeoutMs },
    events: [
      {
        type: "human_input_required",
        ...named(step),
        prompt,
        fields: fields.map((field): Json => ({ ...field })),
        channel_id: step.human_channel_id,
        agent_context: await agentContext(step, context),
        expires_at: new Date(Date.now() + timeoutMs).toISOString(),
      },
      { type: "paused" },
    ],
  };
}

/** What the person is shown beside the question: the values of `input_keys`, as text. */
async function agentContext(step: StepOf<"human">, context: StepContext): Promise<Json> {
  const shown: { [key: string]: string } = {};
  for (const key of step.input_keys) {
    const value = await lookUp(context.state, [key], context.load);
    if (value !== undefined) shown[key] = clip(asText(value), CONTEXT_CHARS);
  }
  return step.input_keys.length === 0 ? null : shown;
}
