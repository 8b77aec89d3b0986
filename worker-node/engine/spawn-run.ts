import type { ConversationalAgent, Step } from "../../shared/contracts/definition/index.ts";
import { builtInTools, isBuiltIn } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import type { Usage } from "../../shared/contracts/journal-entry.ts";
import { childError, completedEvent } from "./child-result.ts";
import { namesOf } from "./events.ts";
import { TerminalError } from "./step-errors.ts";
import { argumentErrors, argumentsOf } from "./tool-arguments.ts";
import { noteResult } from "./toolbox.ts";
import type { ToolResult } from "./toolbox.ts";
import type { ChildReply, StepContext, ToolCall, ToolSpec } from "./ports.ts";

const SPAWN = "spawn_run" satisfies keyof typeof builtInTools;
/** The most characters of a message that a model may write. */
const MAX_MESSAGE_CHARS = 200_000;
/** Reasons for which no run was started, and about which the model can do something. */
const REFUSALS: ReadonlySet<string> = new Set([
  "unknown_orchestration",
  "child_depth",
  "child_limit",
  "child_input_too_large",
]);

export function isBuiltInSpawn(stored: JsonObject | undefined): boolean {
  return stored?.["tool_type"] === "built_in" && stored["name"] === SPAWN && isBuiltIn(SPAWN);
}

/** The tool as this agent's model sees it: with the orchestrations that the agent may start. */
export function withChoice(spec: ToolSpec, { orchestration_ids }: ConversationalAgent): ToolSpec {
  if (spec.name !== SPAWN || orchestration_ids.length === 0) return spec;
  const { properties } = builtInTools.spawn_run.inputSchema;
  const choice = { type: "string", enum: [...orchestration_ids] };
  const chosen =
    typeof properties === "object" && properties !== null && !Array.isArray(properties)
      ? { ...properties, orchestration_id: choice }
      : {};
  return { ...spec, parameters: { ...spec.parameters, properties: chosen } };
}

type Spawned = ToolResult & { usage: readonly Usage[] };

/**
 * The built-in tool `spawn_run`: starts a run, and gives the model its output. The run is started once, however often the
 * round is repeated.
 * @param call `place`: the place of the call in its visit
 * @returns null while the step has to wait
 */
export async function spawnRun(
  { call, place }: { call: ToolCall; place: string },
  { orchestration_ids }: ConversationalAgent,
  step: Step,
  context: StepContext,
): Promise<Spawned | null> {
  const args = argumentsOf(call.args);
  const wrong =
    args === null ? ["the arguments must be one JSON object"] : wrongArguments(args, orchestration_ids);
  const orchestrationId = textIn(args, "orchestration_id");
  if (args === null || wrong.length > 0)
    return told(call, step, context, refusal(`The call was not made: ${wrong.join("; ")}.`));
  const waits = args["wait"] !== false;
  const request = {
    call: place,
    orchestrationId,
    message: textIn(args, "message"),
    state: {},
    timeoutMs: null,
    waits,
  };
  const reply = await context.child(request).catch((error: unknown) => {
    if (error instanceof TerminalError && REFUSALS.has(error.code)) return error;
    throw error;
  });
  if (reply instanceof TerminalError)
    return told(call, step, context, refusal(`No run was started: ${reply.message}.`, reply.code));
  if (reply.is === "open") return null;
  if (reply.is === "ended") context.note(completedEvent(step, orchestrationId, reply));
  return told(call, step, context, resultOf(reply));
}

function wrongArguments(args: JsonObject, allowed: readonly string[]): string[] {
  const wrong = argumentErrors(args, builtInTools.spawn_run.inputSchema);
  if (wrong.length > 0) return wrong;
  if (!allowed.some((id) => id === args["orchestration_id"])) {
    const choice =
      allowed.length === 0 ? "its orchestration_ids are empty" : `it may start ${allowed.join(", ")}`;
    return [`this agent may not start a run of ${JSON.stringify(args["orchestration_id"])}: ${choice}`];
  }
  return textIn(args, "message").length > MAX_MESSAGE_CHARS
    ? [`the message is longer than ${MAX_MESSAGE_CHARS} characters`]
    : [];
}

/** A text among arguments that fit the tool's schema. */
function textIn(args: JsonObject | null, name: string): string {
  const value = args?.[name];
  return typeof value === "string" ? value : "";
}

function refusal(reason: string, code = "tool_rejected"): Spawned {
  return { ok: false, code, reason, usage: [] };
}

/** What the model learns of a run. One that failed is a result too: the agent may do something else. */
function resultOf(reply: Exclude<ChildReply, { is: "open" }>): Spawned {
  const run_id = reply.runId;
  if (reply.is !== "ended") return { ok: true, value: { run_id, status: "queued" }, usage: [] };
  const error = childError(reply);
  const { status, response } = reply.end;
  const value: Json =
    error === null ? { run_id, status, output: response } : { run_id, status, error: error.message };
  return { ok: true, value, usage: [reply.usage] };
}

function told(call: ToolCall, step: Step, context: StepContext, result: Spawned): Spawned {
  context.note({ type: "tool_execution", ...namesOf(step), tool_name: call.name, args: call.args });
  noteResult(call.name, result, step, context);
  return result;
}
