import { McpTool } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { answerOf, formOf } from "./elicitation.ts";
import { namesOf } from "./events.ts";
import { clip } from "./prompt.ts";
import { CallIsOpen, keepingKey, RetryableError, TerminalError } from "./step-errors.ts";
import type { McpAnswer, McpOutcome, McpPending, McpQuestion } from "./mcp-pending.ts";
import type { OfferedTool, CallToPerform } from "./offered-tool.ts";
import type { CallAnswer, StepContext } from "./ports.ts";

const MESSAGE_CHARS = 10_000;

/**
 * Calls of a tool of an MCP server. A server may ask a person something before it answers, or make a task of the call. Then what the
 * call waits for is committed, the step parks, and after the wait the call continues. A call that was cut off before this commit is
 * made again under its key.
 */
export function mcpCalls(stored: JsonObject, step: Step, context: StepContext): OfferedTool["perform"] {
  const parsed = McpTool.safeParse(stored);
  return async (call) => {
    if (!parsed.success) throw new TerminalError("bad_tool", "the definition of the tool cannot be used");
    const effectKey = await call.effect();
    let pending = call.pending(effectKey);
    const asking = { call, tool: parsed.data, step, context, reported: new Set(pending?.reported) };
    for (;;) {
      const answers = pending === null ? {} : await answersOf(pending, asking);
      const { runId, tenantId } = context;
      const request = { runId, tenantId, tool: stored, args: call.args, effectKey, pending, answers };
      const outcome = await makeOrContinue(pending, () =>
        context.tools.callMcp({ ...request, signal: context.signal }),
      );
      if (outcome.is === "result") return outcome.value;
      pending = outcome.pending;
      if (outcome.isNew) await call.commitPending(pending);
      if (pending.questions.length > 0) continue;
      if (!(await context.pause(call.at, outcome.afterMs))) throw new CallIsOpen();
    }
  };
}

/** Makes a call, or continues it. When a continuation is refused, the call keeps its effect key: it waits under that key. */
async function makeOrContinue(
  pending: McpPending | null,
  send: () => Promise<McpOutcome>,
): Promise<McpOutcome> {
  try {
    return await send();
  } catch (error) {
    if (pending === null || !(error instanceof RetryableError)) throw error;
    throw keepingKey(error);
  }
}

/** `reported`: the ids of the questions whose ends are in the events. */
type Asking = {
  call: CallToPerform;
  tool: McpTool;
  step: Step;
  context: StepContext;
  reported: Set<string>;
};

/**
 * The answers to all questions of a round. The event of each answer is committed with a note that it is: a visit is executed again for
 * each answer of the round, and for each try of the call.
 * @throws CallIsOpen while one of them is open
 */
async function answersOf(pending: McpPending, asking: Asking): Promise<Readonly<Record<string, McpAnswer>>> {
  const { call, reported } = asking;
  const { questions, round } = pending;
  const before = reported.size;
  const answers: [string, McpAnswer][] = [];
  for (const [i, question] of questions.entries()) {
    const reply = await ask(question, `${call.at}.ask.${round}.${i + 1}`, asking);
    if (reply.is === "open") continue;
    if (!reported.has(reply.questionId)) report(reply, asking);
    reported.add(reply.questionId);
    // A question without an answer in time is cancelled, as MCP says.
    const answer: McpAnswer =
      reply.is === "expired" ? { action: "cancel" } : answerOf(question.schema, reply.answer);
    answers.push([question.name, answer]);
  }
  if (reported.size > before) await call.commitPending({ ...pending, reported: [...reported] });
  if (answers.length < questions.length) throw new CallIsOpen();
  return Object.fromEntries(answers);
}

/** Publishes that a question has an answer, or is over. */
function report(reply: Exclude<CallAnswer, { is: "open" }>, { step, context }: Asking): void {
  const about = { ...namesOf(step), question_id: reply.questionId };
  context.note(
    reply.is === "expired"
      ? { type: "human_timed_out", ...about, on_timeout: "cancel", target_step_id: null }
      : { type: "human_response", ...about, response: reply.answer, answered_by: reply.by },
  );
}

function ask(
  { message, schema }: McpQuestion,
  callName: string,
  { tool, step, context }: Asking,
): Promise<CallAnswer> {
  const { server, tool: tool_name } = tool;
  const prompt = clip(`${server.name} (${tool_name}): ${message}`, MESSAGE_CHARS);
  const timeoutMs = server.wait_timeout_seconds * 1_000;
  const fields = formOf(schema);
  const event = {
    type: "human_input_required" as const,
    ...namesOf(step),
    prompt,
    fields: JsonValue.parse(fields),
    channel_id: null,
    agent_context: { mcp_server: server.name, tool_name },
    expires_at: new Date(Date.now() + timeoutMs).toISOString(),
  };
  return context.ask({ call: callName, prompt, fields, timeoutMs, event });
}
