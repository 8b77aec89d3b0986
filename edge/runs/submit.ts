import { TERMINAL } from "../../shared/contracts/run.ts";
import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { AcceptedRuns } from "../../shared/store/runs/accept-runs.ts";
import { readRunSnapshots } from "../../shared/store/runs/run-snapshots.ts";
import { pause } from "../http/pause.ts";
import { admit } from "./admit.ts";
import type { AdmitDeps } from "./admit.ts";
import { commitAdmitted, isOutcomeUnknown } from "./commit-admitted.ts";
import { failedBy, submitResultOf } from "./submit-result.ts";

export type SubmitDeps = AdmitDeps & {
  /** Keeps the process alive until the work has ended, also after the results are returned. */
  waitUntil(work: Promise<unknown>): void;
};

/** A run whose singleton key is freed between its commit and the look-up of the holder is submitted again, this often at most. */
const MAX_RESUBMITS = 3;

/**
 * Submits runs. The results are in the order of the runs. No run fails because of another: an error of one run (a value that
 * cannot be stored, a look-up that fails) is the result of that run alone, and a committed run is `accepted`, whatever the
 * results of the others are. Never throws.
 */
export async function submit(
  deps: SubmitDeps,
  runs: readonly NewRun[],
  resubmits = MAX_RESUBMITS,
): Promise<SubmitResult[]> {
  try {
    return await submitBatch(deps, runs, resubmits);
  } catch (error) {
    return runs.map((run) => failedBy(run, error));
  }
}

/**
 * Accepts runs in this order (docs/protocol.md 5.1): the queue reserves a place for each run or refuses it, one
 * statement commits the admitted runs, and only after the commit the queue gets their jobs, because a worker may claim
 * a job the instant it is queued. While the queue cannot be reached, Postgres checks the quota (unless
 * ACCEPT_WHEN_REDIS_DOWN is 0: then the runs are refused), and the reconciler enqueues the runs later.
 *
 * @throws only before the commit
 */
async function submitBatch(
  deps: SubmitDeps,
  runs: readonly NewRun[],
  resubmits: number,
): Promise<SubmitResult[]> {
  const admissions = await admit(deps, runs);
  const { accepted, failed } = await commitAdmitted(deps, runs, admissions);
  const unused = runs.filter(
    ({ run_id }) =>
      admissions.get(run_id)?.reserved && !accepted.has(run_id) && !isOutcomeUnknown(failed.get(run_id)),
  );
  // It begins before the look-ups, which may fail or take long. When the update is lost, the reconciler repairs the queue, and
  // the reservations lapse.
  deps.waitUntil(updateQueue(deps, runs, accepted, unused).catch(logNotEnqueued));
  const resultDeps = { ...deps, resubmit: (run: NewRun) => resubmit(deps, run, resubmits) };
  return Promise.all(
    runs.map((run) =>
      submitResultOf(resultDeps, run, { admissions, accepted, failed }).catch((error: unknown) =>
        failedBy(run, error),
      ),
    ),
  );
}

/** The refusal of a run with the policy `skip`, when each holder of its key has ended before it could be looked up. */
const KEY_IS_BUSY: SubmitResult = {
  is: "refused",
  code: "capacity",
  detail: "The runs with this singleton key change faster than one can be named; try again in a moment.",
  retryAfterSeconds: 1,
};

async function resubmit(deps: SubmitDeps, run: NewRun, resubmits: number): Promise<SubmitResult> {
  if (resubmits <= 0) return KEY_IS_BUSY;
  const [result = KEY_IS_BUSY] = await submit(deps, [run], resubmits - 1);
  return result;
}

/** A failed enqueue is tried once more after this time. When that fails too, the reconciler enqueues the runs. */
const ENQUEUE_RETRY_MS = 3_000;

/** Makes the jobs of accepted runs ready, and returns the unused reservations of the others. */
async function updateQueue(
  { queue, query }: SubmitDeps,
  runs: readonly NewRun[],
  accepted: AcceptedRuns,
  unused: readonly NewRun[],
): Promise<void> {
  const jobs = runs.flatMap((run) => {
    const row = accepted.get(run.run_id);
    if (!row) return [];
    const job = jobOf({ ...run, queued_at_ms: row.queued_at_ms });
    return [{ ...job, status: "queued" as const, delayMs: row.delay_ms }];
  });
  const names = unused.map((run) => ({ run: run.run_id, tenant: run.tenant_id }));
  try {
    await Promise.all([queue.enqueue(jobs), queue.giveBack(names)]);
  } catch {
    await pause(ENQUEUE_RETRY_MS);
    // Meanwhile workers may have claimed and ended a run without the queue. Its job would take a place of its tenant until it is due.
    const snapshots = await query((sql) => readRunSnapshots(sql, Array.from(accepted.keys())));
    const open = new Set(snapshots.filter(({ status }) => !TERMINAL.has(status)).map(({ run_id }) => run_id));
    const openJobs = jobs.filter(({ run }) => open.has(run));
    await Promise.all([queue.enqueue(openJobs), queue.giveBack(names)]);
  }
}

function logNotEnqueued(error: unknown): void {
  log.info("submit.not_enqueued", { error: messageOf(error) });
}
