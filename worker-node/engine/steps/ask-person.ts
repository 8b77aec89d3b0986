import type { StepOf } from "../../../shared/contracts/definition/index.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import { namesOf } from "../events.ts";
import { blankTemplate, clip } from "../prompt.ts";
import { asText, valueAt } from "../run-state.ts";
import { renderTemplate } from "../render-template.ts";
import type { Reply, StepContext, StepWait } from "../ports.ts";

/** The most characters of the rendered question, which events contain in full. Long material belongs in `input_keys`. */
const PROMPT_CHARS = 10_000;
const CONTEXT_CHARS = 10_000;

type Human = StepOf<"human">;

/** Opens the question of a visit. @throws TerminalError `template` for a blank one, which no person could answer */
export async function askPerson(step: Human, context: StepContext): Promise<StepWait> {
  const prompt = clip(await renderTemplate(step.human_prompt, context), PROMPT_CHARS);
  if (prompt.trim() === "") throw blankTemplate("human_prompt");
  const { approvers, approvals_needed } = step;
  const timeoutMs = step.human_timeout_seconds * 1_000;
  return {
    waitFor: questionOf(step, { prompt, timeoutMs, level: 0 }),
    ...nextEscalation(step, 0, 0),
    events: [
      {
        type: "human_input_required",
        ...namesOf(step),
        prompt,
        fields: fieldsOf(step),
        channel_id: step.human_channel_id,
        agent_context: await agentContext(step, context),
        expires_at: timeIn(timeoutMs),
        ...(approvers.length > 0 && { approvers, approvals_needed }),
      },
    ],
  };
}

/**
 * Leaves an open question as it is, or gives it to the group whose time has come, one group at a time. The prompt is not
 * rendered again: what rendering reads may be unreachable now.
 */
export function goOnAsking(
  step: Human,
  { openForMs, dueInMs, level, prompt }: Extract<Reply, { is: "open" }>,
): StepWait {
  const group = step.escalate_to[level];
  if (group === undefined || openForMs < group.after_seconds * 1_000) {
    return { waitFor: null, ...nextEscalation(step, level, openForMs), events: [] };
  }
  const escalated = {
    type: "human_escalated" as const,
    ...namesOf(step),
    level: level + 1,
    approvers: group.approvers,
    approvals_needed: step.approvals_needed,
    prompt,
    fields: fieldsOf(step),
    channel_id: step.human_channel_id,
    expires_at: timeIn(dueInMs),
  };
  return {
    waitFor: questionOf(step, { prompt, timeoutMs: dueInMs, level: level + 1 }),
    ...nextEscalation(step, level + 1, openForMs),
    events: [escalated],
  };
}

/** The question with the persons of all groups up to `level`: an answer of an earlier group counts, however late it comes. */
function questionOf(step: Human, open: { prompt: string; timeoutMs: number; level: number }) {
  const groups = step.escalate_to.slice(0, open.level).flatMap(({ approvers }) => approvers);
  return {
    ...open,
    kind: "human" as const,
    fields: step.human_fields,
    approvers: [...new Set([...step.approvers, ...groups])],
    approvalsNeeded: step.approvals_needed,
  };
}

function nextEscalation({ escalate_to }: Human, level: number, openForMs: number): { againInMs?: number } {
  const next = escalate_to[level];
  return next === undefined ? {} : { againInMs: Math.max(0, next.after_seconds * 1_000 - openForMs) };
}

function fieldsOf(step: Human): Json {
  return step.human_fields.map((field): Json => ({ ...field }));
}

/** A time by this worker's clock, for people. */
function timeIn(ms: number): string {
  return new Date(Date.now() + ms).toISOString();
}

/** The values of `input_keys`, as text, which the person sees beside the question. */
async function agentContext(step: Human, context: StepContext): Promise<Json> {
  const shown: { [key: string]: string } = {};
  for (const key of new Set(step.input_keys)) {
    const value = await valueAt(context.state, [key], context.load);
    if (value !== undefined) shown[key] = clip(asText(value), CONTEXT_CHARS);
  }
  return step.input_keys.length === 0 ? null : shown;
}
