import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { pause } from "../http/pause.ts";
import type { Services } from "../services.ts";

/** The pauses after which a refused run with a twin is submitted again. A commit takes some 10 ms. */
const FULL_PAUSES_MS = [100, 300];

/**
 * Submits a run; a run that may have a twin, by its Idempotency-Key or by a singleton key with the policy `skip`, is submitted again
 * when its tenant's queue is full. Another edge may be serving the twin at this moment: it has reserved the last place and not
 * committed the run yet, so a 429 would be wrong a moment later. The pauses are made here and not in the intake's batch, where other requests would wait for them.
 */
export async function submitUntilRoom(submit: Services["submit"], run: NewRun): Promise<SubmitResult> {
  let result = await submit(run);
  const mayHaveTwin = run.idempotency_key !== null || run.singleton?.policy === "skip";
  for (const pauseMs of mayHaveTwin ? FULL_PAUSES_MS : []) {
    if (result.is !== "refused" || result.code !== "queue_full") break;
    await pause(pauseMs);
    result = await submit(run);
  }
  return result;
}
