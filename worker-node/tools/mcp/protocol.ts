import { CLIENT_CAPABILITIES_META_KEY, isCallToolResult } from "@modelcontextprotocol/client";
import type { CallToolResult, Client, JSONRPCMessage } from "@modelcontextprotocol/client";
import { z } from "zod";
import type { McpTask } from "../../engine/mcp-pending.ts";

/** The extension of protocol 2026-07-28 by which a server makes a task of a call. */
const TASKS = "io.modelcontextprotocol/tasks";
/** Where `withTaskAsResult` puts a task. */
const TASK_IN_META = "synapse-edge/task";

/**
 * What each request of protocol 2026-07-28 says of this client. Older servers learn no capabilities when the client connects: their
 * questions would need a connection that is open for as long as a person takes.
 */
const CAPABILITIES = {
  [CLIENT_CAPABILITIES_META_KEY]: { elicitation: { form: {}, url: {} }, extensions: { [TASKS]: {} } },
};

/** The metadata of a request, which declares the capabilities where the protocol has them there. */
export function metaOf(client: Client, more: Record<string, unknown> = {}): Record<string, unknown> {
  return { ...(isModern(client) && CAPABILITIES), ...more };
}

/** Whether the server speaks protocol 2026-07-28, in which capabilities are declared with each request and sessions do not exist. */
export function isModern(client: Client): boolean {
  return client.getProtocolEra() === "modern";
}

/** The state of a task in both protocols. `result` and `inputRequests`: of protocol 2026-07-28 alone. */
export const TaskState = z.object({
  taskId: z.string().min(1).max(512),
  status: z.string(),
  statusMessage: z.string().optional(),
  pollInterval: z.number().optional(),
  pollIntervalMs: z.number().optional(),
  result: z.unknown().optional(),
  error: z.looseObject({ message: z.string() }).optional(),
  inputRequests: z.record(z.string(), z.unknown()).optional(),
});
export type TaskState = z.infer<typeof TaskState>;

/** The answer of a server of protocol 2025-11-25 to a call that may become a task. */
export const CreatedTask = z.object({ task: TaskState });

/** The task that a server has made of a call; null: the result is the tool's own. */
export function taskOf(result: CallToolResult): TaskState | null {
  const task = result._meta?.[TASK_IN_META];
  return task === undefined ? null : TaskState.parse(task);
}

/** A task as the journal keeps it. `state`: the server's first report of it. */
export function newTask(state: TaskState, of: Pick<McpTask, "protocol" | "session">, nowMs: number): McpTask {
  const poll_ms = state.pollIntervalMs ?? state.pollInterval ?? null;
  return { id: state.taskId, ...of, poll_ms, began_at_ms: nowMs, answered: [] };
}

/** A result of a tool that came by another way than the library's. @throws Error when it is none */
export function asToolResult(result: unknown): CallToolResult {
  if (isCallToolResult(result)) return result;
  throw new Error("the result of the task is none of a tool");
}

const WithTask = z.looseObject({
  result: z.looseObject({ resultType: z.literal("task"), taskId: z.string() }),
});

/** The library refuses a result of the type `task`, so it gets an empty one that carries the task. */
export function withTaskAsResult<Message extends JSONRPCMessage>(message: Message): Message {
  const parsed = WithTask.safeParse(message);
  if (!parsed.success) return message;
  const result = { resultType: "complete", content: [], _meta: { [TASK_IN_META]: parsed.data.result } };
  return { ...message, result };
}
