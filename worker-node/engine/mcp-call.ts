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
import type { StepContext } from "./ports.ts";

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
    for (;;) {
      const answers =
        pending === null ? {} : await answersOf(pending, { call, tool: parsed.data, step, context });
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

type Asking = { call: CallToPerform; tool: McpTool; step: Step; context: StepContext };

/** The answers to all questions of a round. @throws CallIsOpen while one of them is open */
async function answersOf(
  { questions, round }: McpPending,
  asking: Asking,
): Promise<Readonly<Record<string, McpAnswer>>> {
  const answers: [string, McpAnswer | null][] = [];
  for (const [i, question] of questions.entries()) {
    answers.push([question.name, await ask(question, `${asking.call.at}.ask.${round}.${i + 1}`, asking)]);
  }
  return Object.fromEntries(
    answers.map(([name, answer]) => {
      if (answer === null) throw new CallIsOpen();
      return [name, answer];
    }),
  );
}

/** A person's answer; null: there is none yet. A question without an answer in time is cancelled, as MCP says. */
async function ask(
  { message, schema }: McpQuestion,
  callName: string,
  { tool, step, context }: Asking,
): Promise<McpAnswer | null> {
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
  const reply = await context.ask({ call: callName, prompt, fields, timeoutMs, event });
  if (reply.is === "open") return null;
  if (reply.is === "expired") return { action: "cancel" };
  const { questionId: question_id, answer: response, by: answered_by } = reply;
  context.note({ type: "human_response", ...namesOf(step), question_id, response, answered_by });
  return answerOf(schema, response);
}
