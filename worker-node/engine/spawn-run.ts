import { builtInTools } from "../../shared/contracts/definition/index.ts";
import type { ConversationalAgent, Step } from "../../shared/contracts/definition/index.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { childError, completedEvent } from "./child-result.ts";
import type { OfferedTool, CallToPerform } from "./offered-tool.ts";
import type { ChildReply, StepContext } from "./ports.ts";
import { CallIsOpen, TerminalError, ToolRejection } from "./step-errors.ts";

/** The most characters of a message that a model may write. */
const MAX_MESSAGE_CHARS = 200_000;
/** Codes of refused starts that the model gets as a reason, because it can do something about them. */
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
  const perform = async ({ args, at, charge }: CallToPerform): Promise<Json> => {
    const orchestrationId = textIn(args, "orchestration_id");
    const message = textIn(args, "message");
    // The schema of the tool has allowed no other orchestration than these.
    if (orchestration_ids.length === 0)
      throw new ToolRejection("this agent may start no run: its orchestration_ids are empty");
    const waits = args["wait"] !== false;
    return resultOf(await runForCall({ orchestrationId, message, waits }, { step, context, at, charge }));
  };
  return { spec, parallel, mayWait: true, perform };
}

/**
 * The run that a call of an agent's tool starts, once, however often the call is repeated. What it has used is charged to the call.
 * @throws ToolRejection when no run was started and the model can do something about it; CallIsOpen while the run has not ended
 */
export async function runForCall(
  { message, ...run }: { orchestrationId: string; message: string; waits: boolean },
  { step, context, at, charge }: { step: Step; context: StepContext } & Pick<CallToPerform, "at" | "charge">,
): Promise<Exclude<ChildReply, { is: "open" }>> {
  if (message.length > MAX_MESSAGE_CHARS)
    throw new ToolRejection(`the message is longer than ${MAX_MESSAGE_CHARS} characters`);
  const request = { ...run, call: at, message, state: {}, timeoutMs: null };
  const reply = await context.child(request).catch((error: unknown) => {
    if (!(error instanceof TerminalError && REFUSALS.has(error.code))) throw error;
    throw new ToolRejection(`no run was started: ${error.message}`, { code: error.code, cause: error });
  });
  if (reply.is === "open") throw new CallIsOpen();
  if (reply.is === "ended") {
    context.note(completedEvent(step, run.orchestrationId, reply));
    charge(reply.usage);
  }
  return reply;
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

/** The result of the tool for the model. A failed run gives a result too: the agent may do something else. */
function resultOf(reply: Exclude<ChildReply, { is: "open" }>): Json {
  const run_id = reply.runId;
  if (reply.is !== "ended") return { run_id, status: "queued" };
  const error = childError(reply);
  const { status, response } = reply.end;
  return error === null ? { run_id, status, output: response } : { run_id, status, error: error.message };
}
