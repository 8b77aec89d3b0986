import { setTimeout as sleep } from "node:timers/promises";
import { isDataError } from "../../shared/store/unreachable.ts";

/** The first pauses before an outcome is written again. */
const PAUSES_MS = [200, 1_000];
const LONGEST_PAUSE_MS = 3_000;
/** How often an outcome is written again: for about ten minutes, which is longer than a failover of Postgres and than any lease of a try. */
const MAX_REPEATS = 200;

/**
 * Writes the outcome of a try, and writes it again for ten minutes while that fails: only this worker knows it, and without it the try is repeated
 * or its outcome is unknown.
 * @param onFailure is called with each failure but the last
 * @throws the last failure: the outcome is not known to be written, and the lease of the try lapses
 */
export async function saveOutcome<State>(
  save: () => Promise<State>,
  onFailure: (error: unknown) => void,
  pause: (ms: number) => Promise<void> = sleep,
): Promise<State> {
  for (let repeats = 0; repeats < MAX_REPEATS; repeats++) {
    try {
      return await save();
    } catch (error) {
      if (isDataError(error)) throw error;
      onFailure(error);
      await pause(PAUSES_MS[repeats] ?? LONGEST_PAUSE_MS);
    }
  }
  return save();
}
