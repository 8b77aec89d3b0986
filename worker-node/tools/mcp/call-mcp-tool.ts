import { isInputRequiredResult } from "@modelcontextprotocol/client";
import type { CallToolResult } from "@modelcontextprotocol/client";
import { z } from "zod";
import { pathText } from "../../../shared/errors.ts";
import { roundedIntegers } from "../../../shared/contracts/long-integers.ts";
import { JsonValue, objectOf } from "../../../shared/contracts/json.ts";
import type { McpServer, McpTool } from "../../../shared/contracts/definition/index.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { ToolRejection } from "../../engine/step-errors.ts";
import type { McpOutcome, McpRequest, McpTask } from "../../engine/mcp-pending.ts";
import { argumentJson } from "../argument-json.ts";
import type { Connected } from "./connection.ts";
import { questionsOf, requireRound } from "./questions.ts";
import { CreatedTask, isModern, metaOf, newTask, taskOf } from "./protocol.ts";
import { valueOfResult } from "./result-text.ts";
import type { ReachedServer } from "./connection-pool.ts";
import { resultOfTask, waitForTask } from "./tasks.ts";

/**
 * The fields of a call's metadata in which the server gets the effect key (two calls with one key are one call, made twice) and the
 * correlation id of the run.
 */
const EFFECT_KEY = "synapse-edge/idempotency-key";
const CORRELATION_ID = "synapse-edge/correlation-id";
/** The pause before a request that the server wants repeated without asking anything; it doubles each further time, up to the maximum. */
const REPEAT_PAUSE_MS = 1_000;
const MAX_REPEAT_PAUSE_MS = 60_000;

/**
 * Calls a tool of an MCP server, or repeats the call with the answers to the server's questions.
 *
 * A server of protocol 2026-07-28 may ask a person something (the outcome has the questions) or make a task of the call. A server of
 * protocol 2025-11-25 makes a task where its tool says that it can. A task that would end with the connection is waited for in the call. Its questions would need a connection that stays open for as long as
 * a person takes. So this client does not declare to such a server that it can ask, and the server's error is reported to the model.
 * @throws as `ConnectionPool.use`; a ToolRejection for a result with `isError`, and for questions that cannot be asked
 */
export async function callMcpTool(
  tool: McpTool,
  request: McpRequest & { args: JsonObject },
  { access, pool }: ReachedServer,
): Promise<McpOutcome> {
  const { pending, answers, effectKey: key, correlationId } = request;
  const meta = { [EFFECT_KEY]: key, ...(correlationId !== undefined && { [CORRELATION_ID]: correlationId }) };
  const retried = pending === null ? {} : retryOf(pending.state, answers);
  const params = { name: tool.tool, arguments: sendableArguments(request.args, tool), ...retried };
  const answer = await pool.use(access, (connected) => send(tool, meta, params, access.server, connected));
  const round = (pending?.round ?? 0) + 1;
  if (answer.is === "task")
    return waitForTask({ key, round, state: null, questions: [], task: answer.task }, { isNew: true });
  const { result } = answer;
  if (!isInputRequiredResult(result)) return { is: "result", value: valueOfResult(result, access.server) };
  requireRound(round, access.server);
  const questions = questionsOf(result.inputRequests ?? {}, access.server);
  const state = result.requestState ?? null;
  const afterMs = Math.min(MAX_REPEAT_PAUSE_MS, REPEAT_PAUSE_MS * 2 ** (round - 1));
  return { is: "waits", pending: { key, round, state, questions, task: null }, isNew: true, afterMs };
}

/** The parameters that a repeated call adds: the answers, and the state that the server wants back. */
function retryOf(state: string | null, answers: McpRequest["answers"]) {
  return {
    ...(Object.keys(answers).length > 0 && { inputResponses: answers }),
    ...(state !== null && { requestState: state }),
  };
}

type Answer = { is: "result"; result: CallToolResult } | { is: "task"; task: McpTask };

async function send(
  tool: McpTool,
  meta: Record<string, string>,
  params: { name: string; arguments: JsonObject },
  server: McpServer,
  connected: Connected,
): Promise<Answer> {
  const { client, signal, timeoutMs: timeout, leaveOpen } = connected;
  const answerOfTask = async (task: McpTask): Promise<Answer> =>
    connected.endsWithConnection
      ? { is: "result", result: await resultOfTask(task, server, connected) }
      : { is: "task", task };
  const sent = { ...params, _meta: metaOf(client, meta) };
  const options = { signal, timeout };
  if (isModern(client)) {
    // Without the definition, the client could not send the headers that protocol 2026-07-28 derives from arguments.
    const toolDefinition = { name: tool.tool, inputSchema: { ...tool.inputSchema, type: "object" as const } };
    const result = await client.callTool(sent, { ...options, toolDefinition, allowInputRequired: true });
    const task = taskOf(result);
    return task === null
      ? { is: "result", result }
      : answerOfTask(newTask(task, { protocol: "2026-07-28", session: null }, Date.now()));
  }
  const takesTasks =
    tool.takes_tasks === true && client.getServerCapabilities()?.tasks?.requests?.tools?.call !== undefined;
  if (!takesTasks) return { is: "result", result: await client.callTool(sent, options) };
  const asTask = { method: "tools/call" as const, params: { ...sent, task: {} } };
  const { task } = CreatedTask.parse(await client.request(asTask, z.looseObject({}), options));
  const session = connected.endsWithConnection ? null : leaveOpen();
  return answerOfTask(newTask(task, { protocol: "2025-11-25", session }, Date.now()));
}

/** The library writes the request, and JavaScript has no number for an integer beyond 2^53. */
function sendableArguments(args: JsonObject, tool: McpTool): JsonObject {
  const json = argumentJson(args, tool.inputSchema);
  const [rounded] = roundedIntegers(json);
  if (rounded !== undefined)
    throw new ToolRejection(
      `the argument ${pathText(rounded)} has more digits than an MCP call can carry as a number`,
    );
  return objectOf(JsonValue.parse(JSON.parse(json)));
}
