import type { JsonObject } from "../../shared/contracts/json.ts";
import type { OfferedTool } from "./offered-tool.ts";
import type { StepContext } from "./ports.ts";
import { RetryableError, TerminalError, withNewKey } from "./step-errors.ts";

/** Code of a call of a tool that is not `retry_safe`, when it is not known whether it has happened. */
export const OUTCOME_UNKNOWN = "outcome_unknown";

/**
 * Calls of a tool that must not get the same call twice (`retry_safe: false`). The beginning of a call is committed before it is made. An
 * execution that finds a beginning without a result makes no call: the one before it may have been carried out.
 */
export function callingOnce(stored: JsonObject, context: StepContext): OfferedTool["perform"] {
  const { tenantId, signal } = context;
  return async ({ args, begin, files }) => {
    const { key, wasBegun } = await begin();
    const request = { tenantId, tool: stored, args, effectKey: key, signal, files };
    if (!wasBegun) return context.tools.call(request).catch(orNotMade);
    throw new TerminalError(
      OUTCOME_UNKNOWN,
      "the call was begun before and has no result, and the tool is not retry_safe, so it is not called again",
    );
  };
}

/** A tool whose secrets do not open here is not called: a worker that can open them makes the call. */
function orNotMade(error: unknown): never {
  throw error instanceof RetryableError && error.code === "tool_sealed" ? withNewKey(error) : error;
}
