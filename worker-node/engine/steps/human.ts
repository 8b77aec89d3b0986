import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { TerminalError } from "../step-errors.ts";
import { namesOf } from "../events.ts";
import { clip } from "../prompt.ts";
import { asText, valueAt } from "../run-state.ts";
import { renderTemplate } from "../render-template.ts";
import type { Executor, StepContext, StepWait } from "../ports.ts";

/** The most characters of the rendered question, which events contain in full. Long material belongs in `input_keys`. */
const PROMPT_CHARS = 10_000;
const CONTEXT_CHARS = 10_000;

/**
 * Asks a person. The run occupies no worker until the answer is there, unless another branch of it moves. The answer is
 * stored under `output_key`, and always under `human_response` too. Without an answer in `human_timeout_seconds` the step fails.
 */
export const human: Executor<"human"> = async (step, context) => {
  const { reply } = context;
  switch (reply?.is) {
    case "answered":
      return {
        set: { [step.output_key ?? "human_response"]: reply.answer, human_response: reply.answer },
        events: [{ type: "human_response", ...namesOf(step), response: reply.answer }],
        usage: [],
        effects: [],
        waitedMs: reply.openForMs,
      };
    case "expired":
      throw new TerminalError("human_timeout", `no answer came within ${step.human_timeout_seconds} s`);
    case "open":
      // The run woke for another reason than an answer. The question was published before.
      return { waitFor: null, events: [] };
    case "closed":
    case undefined:
      return questionOf(step, context);
  }
};

async function questionOf(step: StepOf<"human">, context: StepContext): Promise<StepWait> {
  const prompt = clip(await renderTemplate(step.human_prompt, context), PROMPT_CHARS);
  const fields = step.human_fields;
  const timeoutMs = step.human_timeout_seconds * 1_000;
  return {
    waitFor: { kind: "human", prompt, fields, timeoutMs },
    events: [
      {
        type: "human_input_required",
        ...namesOf(step),
        prompt,
        fields: fields.map((field): Json => ({ ...field })),
        channel_id: step.human_channel_id,
        agent_context: await agentContext(step, context),
        expires_at: new Date(Date.now() + timeoutMs).toISOString(),
      },
    ],
  };
}

/** The values of `input_keys`, as text, which the person sees beside the question. */
async function agentContext(step: StepOf<"human">, context: StepContext): Promise<Json> {
  const shown: { [key: string]: string } = {};
  for (const key of new Set(step.input_keys)) {
    const value = await valueAt(context.state, [key], context.load);
    if (value !== undefined) shown[key] = clip(asText(value), CONTEXT_CHARS);
  }
  return step.input_keys.length === 0 ? null : shown;
}
