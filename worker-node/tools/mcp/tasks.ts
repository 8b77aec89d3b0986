import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import type { CallToolResult } from "@modelcontextprotocol/client";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import type { McpOutcome, McpPending, McpRequest, McpTask } from "../../engine/mcp-pending.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import type { Connected } from "./connection.ts";
import { asToolResult, metaOf, TaskState } from "./protocol.ts";
import { questionsOf, requireRound } from "./questions.ts";
import { valueOfResult } from "./result-text.ts";
import type { ReachedServer } from "./connection-pool.ts";
import { quote } from "./server-error.ts";

/** The pause between two polls: what the server wants within these bounds, and a tenth of the task's age. */
const MIN_POLL_MS = 500;
const MAX_POLL_MS = 60_000;
const DEFAULT_POLL_MS = 1_000;

/** The state of a task that has not ended yet, or its result. */
type Polled = { is: "state"; state: TaskState } | { is: "result"; result: CallToolResult };
/** A pending call that has a task. */
export type PendingTask = McpPending & { task: McpTask };

/** The pause before the next poll of a task, in milliseconds. */
export function pollAfterMs({ poll_ms, began_at_ms }: McpTask, nowMs: number): number {
  const ageMs = Math.max(0, nowMs - began_at_ms);
  return Math.min(MAX_POLL_MS, Math.max(MIN_POLL_MS, poll_ms ?? DEFAULT_POLL_MS, ageMs / 10));
}

/** The outcome of a call whose task goes on. */
export function waitForTask(pending: PendingTask, { isNew }: { isNew: boolean }): McpOutcome {
  return { is: "waits", pending, isNew, afterMs: pollAfterMs(pending.task, Date.now()) };
}

/**
 * Polls the task of a call once, after the answers to its questions were sent.
 * @throws as `ConnectionPool.use`; a ToolRejection when the task has failed or was cancelled, or asks for input that cannot be given
 */
export async function goOnWithTask(
  pending: PendingTask,
  answers: McpRequest["answers"],
  { access, pool }: ReachedServer,
): Promise<McpOutcome> {
  const { task } = pending;
  const answered = Object.keys(answers);
  const polled = await pool.use(access, (connected) => poll(task, answers, connected));
  if (polled.is === "result") return { is: "result", value: valueOfResult(polled.result, access.server) };
  const { state } = polled;
  const after: PendingTask = {
    ...pending,
    questions: [],
    task: { ...task, answered: [...task.answered, ...answered] },
  };
  const asked = Object.entries(state.inputRequests ?? {}).filter(
    ([name]) => !after.task.answered.includes(name),
  );
  switch (state.status) {
    case "working":
      return waitForTask(after, { isNew: answered.length > 0 });
    case "input_required": {
      if (task.protocol === "2025-11-25") throw cannotAsk(access.server);
      if (asked.length === 0) return waitForTask(after, { isNew: answered.length > 0 });
      const round = pending.round + 1;
      requireRound(round, access.server);
      const questions = questionsOf(Object.fromEntries(asked), access.server);
      return waitForTask({ ...after, round, questions }, { isNew: true });
    }
    default:
      throw endedBadly(state, access.server);
  }
}

async function poll(
  task: McpTask,
  answers: McpRequest["answers"],
  { client, signal, timeoutMs: timeout, leaveOpen }: Connected,
): Promise<Polled> {
  const options = { signal, timeout };
  const params = { taskId: task.id, _meta: metaOf(client) };
  const anything = z.looseObject({});
  if (Object.keys(answers).length > 0) {
    const update = { method: "tasks/update", params: { ...params, inputResponses: answers } };
    await client.request(update, anything, options);
  }
  const state = await client.request({ method: "tasks/get", params }, TaskState, options);
  if (state.status === "working" && task.session !== null) leaveOpen();
  if (state.status !== "completed") return { is: "state", state };
  const result =
    task.protocol === "2026-07-28"
      ? state.result
      : await client.request({ method: "tasks/result", params }, anything, options);
  return { is: "result", result: asToolResult(result) };
}

/**
 * The result of a task that ends with its connection, which no other connection can poll: so the call waits for it, for its own time.
 * @throws as `goOnWithTask`
 */
export async function resultOfTask(
  task: McpTask,
  server: McpServer,
  connected: Connected,
): Promise<CallToolResult> {
  for (;;) {
    await setTimeout(pollAfterMs(task, Date.now()), undefined, { signal: connected.signal });
    const polled = await poll(task, {}, connected);
    if (polled.is === "result") return polled.result;
    if (polled.state.status === "input_required") throw cannotAsk(server);
    if (polled.state.status !== "working") throw endedBadly(polled.state, server);
  }
}

/**
 * Cancels a task at its server, because no call waits for it any more. The server decides whether it stops. @throws as
 * `ConnectionPool.use`
 */
export async function cancelTask(id: string, { access, pool }: ReachedServer): Promise<void> {
  await pool.use(access, ({ client, signal, timeoutMs: timeout }) => {
    const params = { taskId: id, _meta: metaOf(client) };
    return client.request({ method: "tasks/cancel", params }, z.looseObject({}), { signal, timeout });
  });
}

/** Whether a task has been waited for as long as its server's definition allows. */
export function isOverdue(
  { began_at_ms }: McpTask,
  { wait_timeout_seconds }: McpServer,
  nowMs: number,
): boolean {
  return nowMs - began_at_ms > wait_timeout_seconds * 1_000;
}

function cannotAsk({ name }: McpServer): ToolRejection {
  const message = `the task of the MCP server ${name} asks for input of a person, which needs protocol 2026-07-28 over Streamable HTTP`;
  return new ToolRejection(message, { code: "mcp_input_required" });
}

function endedBadly({ status, statusMessage, error }: TaskState, server: McpServer): ToolRejection {
  const said = quote(server, error?.message ?? statusMessage ?? "");
  const what =
    status === "cancelled"
      ? "was cancelled by the server"
      : status === "failed"
        ? "failed"
        : `is ${quote(server, status)}`;
  return new ToolRejection(
    `the task of the MCP server ${server.name} ${what}${said === "" ? "" : `: ${said}`}`,
  );
}
