import { messageOf } from "../../../shared/log.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import { createEgress } from "../../outbound/egress-guard.ts";
import { querySql } from "./query.ts";
import { READY, SqlCall } from "./sql-call.ts";
import type { SqlAnswer } from "./sql-call.ts";

// The process of sql-processes.ts: runs one call at a time. The worker ends it with SIGKILL, and it ends itself at the worker's death.

process.on("message", (sent) => void answer(SqlCall.parse(sent)).then((sending) => process.send?.(sending)));
process.once("disconnect", () => process.exit());
process.send?.(READY);

async function answer({ tool, args, timeoutMs, allow }: SqlCall): Promise<SqlAnswer> {
  try {
    // Nothing cancels a call here: the worker ends the whole process.
    const { signal } = new AbortController();
    return { value: await querySql(tool, args, { egress: createEgress(allow), timeoutMs, signal }) };
  } catch (error) {
    if (error instanceof ToolRejection) return failure("rejection", error);
    if (error instanceof TerminalError) return failure("terminal", error);
    if (error instanceof RetryableError) return failure("retryable", error);
    // It would be a mistake in this program. The process ends, and the call is tried again in another one.
    throw error;
  }
}

function failure(failed: "rejection" | "terminal" | "retryable", error: TerminalError | RetryableError) {
  const { code, message, cause } = error;
  return { failed, code, message, cause: cause === undefined ? null : messageOf(cause) };
}
