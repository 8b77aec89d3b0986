import { fold, initialProgress } from "../../shared/journal/fold.ts";
import { TerminalError } from "../engine/step-errors.ts";
import type { ExecutionState } from "./execution-state.ts";
import { unreadable, waitForStore } from "./wait-for-store.ts";

/** Makes the run's progress what its journal says: nothing but this execution appends to it. */
export async function readProgress(state: ExecutionState, signal: AbortSignal): Promise<void> {
  const { run, deps, initial, runLog } = state;
  const upto = runLog.knownSeq;
  const read = (after: number) =>
    waitForStore(run, signal, () => deps.store.readStoredPage(run.run_id, after, upto));
  state.progress =
    upto === 0
      ? initialProgress(initial)
      : await fold(initial, read).catch((error: unknown) => {
          throw error instanceof TerminalError ? error : unreadable(error);
        });
}
