import { builtInTools } from "../../shared/contracts/definition/index.ts";
import type { ConversationalAgent, Step } from "../../shared/contracts/definition/index.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { childError, completedEvent } from "./child-result.ts";
import type { OfferedTool, Performed } from "./offered-tool.ts";
import type { ChildReply, StepContext } from "./ports.ts";
import { CallIsOpen, TerminalError, ToolRejection } from "./step-errors.ts";

/** The most characters of a message that a model may write. */
const MAX_MESSAGE_CHARS = 200_000;
/** Reasons for which no run was started, and about which the model can do something. */
const REFUSALS: ReadonlySet<string> = new Set([
  "unknown_orchestration",
  "child_depth",
  "child_limit",
  "child_input_too_large",
]);

/**
 * The built-in tool `spawn_run` of an agent: starts a run, and gives the model its output. The run is started once, however often
 * the call is repeated. The model sees the orchestrations that the agent may start.
 */
export function spawnTool(
  { orchestration_ids }: ConversationalAgent,
  step: Step,
  context: StepContext,
): OfferedTool {
  const { description, inputSchema, parallel } = builtInTools.spawn_run;
  const spec = { name: "spawn_run", description, parameters: withChoice(inputSchema, orchestration_ids) };
  const perform = async ({ args, at, charge }: Performed): Promise<Json> => {
    const orchestrationId = textIn(args, "orchestration_id");
    const message = textIn(args, "message");
    // The schema of the tool has allowed no other orchestration than these.
    if (orchestration_ids.length === 0)
      throw new ToolRejection("this agent may start no run: its orchestration_ids are empty");
    if (message.length > MAX_MESSAGE_CHARS)
      throw new ToolRejection(`the message is longer than ${MAX_MESSAGE_CHARS} characters`);
    const waits = args["wait"] !== false;
    const request = { call: at, orchestrationId, message, state: {}, timeoutMs: null, waits };
    const reply = await context.child(request).catch((error: unknown) => {
      if (!(error instanceof TerminalError && REFUSALS.has(error.code))) throw error;
      throw new ToolRejection(`no run was started: ${error.message}`, { code: error.code, cause: error });
    });
    if (reply.is === "open") throw new CallIsOpen();
    if (reply.is === "ended") {
      context.note(completedEvent(step, orchestrationId, reply));
      charge(reply.usage);
    }
    return resultOf(reply);
  };
  return { spec, parallel, mayWait: true, perform };
}

function withChoice(schema: JsonObject, orchestrationIds: readonly string[]): JsonObject {
  const { properties } = schema;
  if (orchestrationIds.length === 0 || !isObject(properties)) return schema;
  const choice = { type: "string", enum: [...orchestrationIds] };
  return { ...schema, properties: { ...properties, orchestration_id: choice } };
}

/** A text among arguments that fit the tool's schema. */
function textIn(args: JsonObject, name: string): string {
  const value = args[name];
  return typeof value === "string" ? value : "";
}

/** What the model learns of a run. One that failed is a result too: the agent may do something else. */
function resultOf(reply: Exclude<ChildReply, { is: "open" }>): Json {
  const run_id = reply.runId;
  if (reply.is !== "ended") return { run_id, status: "queued" };
  const error = childError(reply);
  const { status, response } = reply.end;
  return error === null ? { run_id, status, output: response } : { run_id, status, error: error.message };
}
