import { setTimeout as sleep } from "node:timers/promises";

/** The pauses before an outcome is written again. */
const PAUSES_MS = [200, 1_000, 3_000];

/**
 * Writes the outcome of a try, and up to three times again when that fails.
 * @param onFailure is called with each failure but the last
 * @throws the last failure: the outcome is not known to be written, and the lease of the try lapses
 */
export async function saveOutcome<State>(
  save: () => Promise<State>,
  onFailure: (error: unknown) => void,
): Promise<State> {
  for (const pauseMs of PAUSES_MS) {
    try {
      return await save();
    } catch (error) {
      onFailure(error);
      await sleep(pauseMs);
    }
  }
  return save();
}
