import { RunId, TenantId } from "../contracts/ids.ts";
import type { Lane } from "../contracts/run.ts";

/** A run's name, and the tenant that determines its shard. */
export type JobName = { run: RunId; tenant: TenantId };

/**
 * A name on the queue: it says which run is ready, Postgres says what the run is.
 * `score`: a tenant's ready jobs are claimed in its order, smallest first; see `scoreOf`.
 */
export type Job = JobName & { lane: Lane; score: number };

/** What a waiting job waits for: a `queued` one counts against the tenant's quota, a `paused` one does not. */
export type JobWait = { status: "queued" | "paused"; delayMs: number };

/** Ten minutes of waiting outweigh the highest priority (10), so that ageing bounds every wait. */
const MS_PER_PRIORITY = 60_000;

/** The rank of a job among the jobs of its tenant: the time at which it was queued, a minute earlier for each point of priority. */
export function scoreOf(queuedAtMs: number, priority: number): number {
  return queuedAtMs - priority * MS_PER_PRIORITY;
}

/** The job of a run. */
export function jobOf(run: {
  run_id: RunId;
  tenant_id: TenantId;
  lane: Lane;
  queued_at_ms: number;
  priority: number;
}): Job {
  return {
    run: run.run_id,
    tenant: run.tenant_id,
    lane: run.lane,
    score: scoreOf(run.queued_at_ms, run.priority),
  };
}

/** A job as the scripts take it. */
export function jobArgs({ run, tenant, lane, score }: Job): string[] {
  return [run, tenant, lane, String(score)];
}

/** A waiting job as the scripts take it; its delay in whole milliseconds. */
export function waitingJobArgs(job: Job & JobWait): string[] {
  return [...jobArgs(job), job.status, String(Math.max(0, Math.ceil(job.delayMs)))];
}

/** Reads a script's list of runs and tenants: run, tenant, run, tenant … */
export function readJobNames(flat: readonly string[]): JobName[] {
  const names: JobName[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) {
    names.push({ run: RunId.parse(flat[i]), tenant: TenantId.parse(flat[i + 1]) });
  }
  return names;
}
