import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import { wakeBudgetWaits as wake } from "../../shared/store/money/budget-waits.ts";
import type { Services } from "../services.ts";

/**
 * Wakes the runs that wait for a changed budget, so that they try again at once. Never throws: the reconciler does the same every
 * few seconds, so a failure here costs a delay.
 */
export async function wakeBudgetWaits({ sql, queue }: Services): Promise<void> {
  try {
    const woken = await wake(sql);
    const queued = woken.filter(({ status }) => status === "queued");
    if (queued.length === 0) return;
    await queue.enqueue(queued.map((run) => ({ ...jobOf(run), status: "queued" as const, delayMs: 0 })));
  } catch (error) {
    log.info("budget.waits_not_woken", { error: messageOf(error) });
  }
}
