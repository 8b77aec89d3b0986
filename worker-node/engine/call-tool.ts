import { OUTCOME_UNKNOWN } from "./call-once.ts";
import { namesOf } from "./events.ts";
import { clip, clipBytes } from "./prompt.ts";
import { asText } from "./run-state.ts";
import { RetryableError, TerminalError, ToolRejection } from "./step-errors.ts";
import { argumentErrors, argumentsOf, missingArguments } from "./tool-arguments.ts";
import { typedArguments } from "./typed-arguments.ts";
import { compactAtBytes } from "../../shared/contracts/model-window.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { StepContext, ToolCall } from "./ports.ts";
import type { OfferedTool, CallToPerform } from "./offered-tool.ts";
import type { Toolbox } from "./toolbox.ts";

const PREVIEW_CHARS = 500;
/** The most bytes of a tool's result that a model gets; a note says how many characters are left out. */
const RESULT_BYTES = 100_000;
/** The share of a model's window that one result may have, of what a conversation may fill. */
const RESULT_SHARE = 0.5;

/** Codes of failures that the tool's own headers or address have caused: no other arguments would help. */
const WRONG_TOOL: ReadonlySet<string> = new Set(["tool_unauthorized", "tool_redirected"]);
/**
 * Codes of a call without an answer. The agent gets it as a result and may go on without this tool; whether the call has happened is
 * unknown.
 */
const SILENT_TOOL: ReadonlySet<string> = new Set(["tool_timeout", "mcp_unreachable", OUTCOME_UNKNOWN]);
/** Codes of a tool that is away for a time. The step is tried again; in its last try the agent may go on without this tool. */
const ABSENT_TOOL: ReadonlySet<string> = new Set(["tool_unavailable", "unreachable"]);

/** A tool's result, or why there is none where the model can do something about it. */
type ToolResult = { ok: true; value: Json } | Refused;
/**
 * `reason`: for the model, with all that the tool said. `message`: for the run's error, with the beginning of it. `isUnknown`: the call may
 * have happened nevertheless.
 */
type Refused = { ok: false; code: string; reason: string; message: string; isUnknown: boolean };

/**
 * The origin of a call: an agent, which can react to its failure; a model that filled in the arguments of a tool step; or the
 * run's state.
 */
type CallBy = "agent" | "model" | "state";

/**
 * Makes one tool call and publishes it. In these cases it returns the reason for the model, which may correct itself:
 * - the model does not have the tool
 * - the tool's schema does not allow the arguments
 * - the tool refuses the call, or its answer cannot be used
 * - in a call by an agent, which may go on without the tool: the tool did not answer in time, its own headers or address are wrong, or it
 *   is away and the step has no further try
 *
 * Any other failure is thrown. So in a tool step a timeout is tried again, as its `retry` says, and wrong headers fail the step.
 * @param call `isBegun`: an earlier execution has published that the call is made
 * @throws CallIsOpen when the step has to wait for what the call has begun
 */
export async function callTool(
  call: ToolCall & { by: CallBy; isBegun?: boolean } & Omit<CallToPerform, "args">,
  tools: Toolbox,
  step: Step,
  context: StepContext,
): Promise<ToolResult> {
  const tool = tools.get(call.name);
  const written = argumentsOf(call.args);
  const isOfModel = written !== null && tool !== undefined && call.by !== "state";
  const args = isOfModel ? typedArguments(written, tool.spec.parameters) : written;
  const execution = {
    type: "tool_execution" as const,
    ...namesOf(step),
    tool_name: call.name,
    args: args ?? call.args,
  };
  const notedLast = tool?.mayWait ? [execution] : [];
  if (!tool?.mayWait && !call.isBegun) context.note(execution);
  let result: ToolResult;
  if (tool === undefined) {
    const names = [...tools.keys()].join(", ") || "none";
    result = refused(`There is no tool "${call.name}" for you here. Your tools: ${names}.`);
  } else if (args === null)
    result = refused("The call was not made: the arguments must be one JSON object, at most 64 levels deep.");
  else {
    const { parameters } = tool.spec;
    const wrong =
      call.by === "state"
        ? missingArguments(args, parameters).map((name) => `the argument ${name} is missing`)
        : argumentErrors(args, parameters);
    result =
      wrong.length > 0
        ? refused(`The call was not made: ${wrong.join("; ")}.`)
        : await perform(tool, { ...call, args }, call.by, context);
  }
  const preview = clip(textForModel(result), PREVIEW_CHARS - 40);
  context.note(...notedLast, { type: "tool_result", ...namesOf(step), tool_name: call.name, preview });
  return result;
}

async function perform(
  tool: OfferedTool,
  call: CallToPerform,
  by: CallBy,
  { isLastTry }: Pick<StepContext, "isLastTry">,
): Promise<ToolResult> {
  try {
    return { ok: true, value: await tool.perform(call) };
  } catch (error) {
    const isOfCall = error instanceof RetryableError || error instanceof TerminalError;
    if (by === "agent" && isOfCall && SILENT_TOOL.has(error.code)) {
      const why = error.code === "tool_timeout" ? "the tool did not answer in time" : error.message;
      return silent(why, error.code);
    }
    if (
      by === "agent" &&
      error instanceof RetryableError &&
      ABSENT_TOOL.has(error.code) &&
      isLastTry(error)
    ) {
      if (!error.answered) return silent(error.message, error.code);
      return refused(`The call has no result: ${error.message}. It was not carried out.`, error.code);
    }
    if (by === "agent" && error instanceof TerminalError && WRONG_TOOL.has(error.code)) {
      return refused(
        `The call has no result, and other arguments may not help: ${error.message}`,
        error.code,
      );
    }
    if (!(error instanceof ToolRejection)) throw error;
    const what = error.code === "tool_rejected" ? "The tool refused the call" : "The call has no result";
    return { ...refused(`${what}: ${error.whole}`, error.code), message: `${what}: ${error.message}` };
  }
}

function refused(reason: string, code = "tool_rejected"): Refused {
  return { ok: false, code, reason, message: reason, isUnknown: false };
}

function silent(why: string, code: string): Refused {
  const reason = `The call has no result: ${why}. It may have been carried out all the same.`;
  return { ok: false, code, reason, message: reason, isUnknown: true };
}

/** Whether a call without a result may have happened nevertheless. */
export function isOutcomeUnknown(result: ToolResult): boolean {
  return !result.ok && result.isUnknown;
}

/** The most bytes of one result for a model with this window. */
export function resultBytes(tokens: number): number {
  return Math.min(RESULT_BYTES, Math.round(compactAtBytes(tokens) * RESULT_SHARE));
}

/** A tool's result as a model reads it. Null says that there is no such thing, and an empty text nothing. */
export function textForModel(result: ToolResult, maxBytes = RESULT_BYTES): string {
  if (!result.ok) return clipBytes(result.reason, maxBytes);
  return result.value === null ? "null" : clipBytes(asText(result.value), maxBytes);
}
