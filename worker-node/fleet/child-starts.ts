import { aboutRun, log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import type { SignalledRun } from "../../shared/store/runs/family.ts";
import type { ChildAdmission, ChildStarts } from "../execution/execution-state.ts";

type ChildStartsDeps = {
  queue: Pick<Queue, "admit" | "enqueue" | "giveBack">;
  /** The most runs that one shard of the queue may hold. */
  maxDepth(): number;
  /** Whether the tenants' `max_*` limits hold in this deployment. */
  isolation: boolean;
  /** Sends a worker the hint that one of its runs has received something. The hint may be lost. */
  hint(owner: string): void;
};

/** The queue for runs that other runs start or wait for: the admission of docs/protocol.md 5.1, and the wake-ups of 5.15. */
export function childStarts({ queue, maxDepth, isolation, hint }: ChildStartsDeps): ChildStarts {
  return {
    async admit({ run, tenant }: JobName, traceparent) {
      try {
        const [verdict] = await queue.admit([{ run, tenant }], maxDepth());
        return admissionOf(verdict, isolation);
      } catch (error) {
        const about = aboutRun({ run_id: run, tenant_id: tenant, traceparent });
        log.info("child.not_admitted", { ...about, message: messageOf(error) });
        return waitAtLeast(5_000, "the queue cannot be reached");
      }
    },
    giveBack(child) {
      queue.giveBack([child]).catch(logNotUpdated);
    },
    notify(runs) {
      const due = runs.filter(({ status }) => status === "queued");
      const jobs = due.map((run) => ({ ...jobOf(run), status: "queued" as const, delayMs: 0 }));
      if (jobs.length > 0) queue.enqueue(jobs).catch(logNotUpdated);
      for (const { owner } of runs) if (owner !== null) hint(owner);
    },
  };
}

/**
 * The queue's verdict as a decision. `rebuilding`: the queue has reserved a place and cannot count yet, so Postgres checks the quota.
 * Without a reserved place the child waits: a run that is committed without one would make the counts of the queue wrong.
 */
function admissionOf(verdict: QueueVerdict | undefined, isolation: boolean): ChildAdmission {
  if (verdict === undefined) throw new Error("the queue returned no verdict on a run");
  if (verdict.ok) return { is: "admitted", quotaCheckedBy: "queue" };
  switch (verdict.reason) {
    case "rebuilding":
      return { is: "admitted", quotaCheckedBy: isolation ? "postgres" : "queue" };
    case "rate":
      return waitAtLeast(
        Math.max(1_000, verdict.retryMs),
        "the tenant starts more runs a second than it may",
      );
    case "minute":
      return waitAtLeast(
        Math.max(1_000, verdict.retryMs),
        "the tenant starts more runs a minute than it may",
      );
    case "queued":
      return waitAtLeast(5_000, `the tenant has ${verdict.limit} runs queued, which is its limit`);
    case "depth":
      return waitAtLeast(10_000, "the system has as many runs queued as it can take");
    case "disabled":
      return waitAtLeast(60_000, "the tenant may not start runs");
    case "cold":
    case "unknown":
      return waitAtLeast(5_000, "the queue is being rebuilt");
  }
}

/** A wait of `leastMs` to one and a half times as long, so that runs that wait for the same room do not come back at the same moment. */
function waitAtLeast(leastMs: number, why: string): ChildAdmission {
  return { is: "wait", afterMs: Math.round(leastMs * (1 + Math.random() / 2)), why };
}

function logNotUpdated(error: unknown): void {
  // The reconciler enqueues runs that are due in Postgres, and reservations lapse.
  log.info("child.queue_not_updated", { message: messageOf(error) });
}

/** The runs that committed entries have notified, each once. */
export function notifiedOf(
  committed: readonly { notified?: SignalledRun[] | null | undefined }[],
): SignalledRun[] {
  const runs = committed.flatMap(({ notified }) => notified ?? []);
  return [...new Map(runs.map((run) => [run.run_id, run])).values()];
}
