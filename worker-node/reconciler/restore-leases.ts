import { TERMINAL } from "../../shared/contracts/run.ts";
import { queueShardOf } from "../../shared/keys.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { RunLook } from "../../shared/store/runs/claim.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { LEASE_MS } from "../fleet/leases.ts";
import { PAGE, jobOf } from "./parts.ts";

/** For somebody who is not heard of: it keeps the slot counted, and the next claimer takes it over. */
const SILENT_LEASE_MS = 1_000;
/** How long a job is held for the worker that Postgres says executes it: that worker renews it, or it lapses. */
const HOLD_MS = 5_000;

type Stores = { store: StateStore; queue: Queue };
/** Leases that the queue gave because Postgres said who executes these runs, by that worker. */
type RestoredLeases = Map<string, JobName[]>;

/**
 * Tells a shard that has been away, or is new, of all that runs: a slot of each tenant for each of its runs. `epoch`: of
 * the rebuild that this is part of.
 */
export async function restoreRunningLeases(
  { store, queue }: Stores,
  shard: number,
  epoch?: string,
): Promise<RestoredLeases> {
  const holds: RestoredLeases = new Map();
  let after = { owner: "", run_id: "" };
  for (;;) {
    const page = await store.runningRuns(after, PAGE);
    const here = page.filter((run) => queueShardOf(run.tenant_id, queue.shards) === shard);
    for (const [owner, runs] of Map.groupBy(here, (run) => run.owner)) {
      const jobs = runs.map(jobOf);
      await queue.restoreLeases({
        jobs,
        owner,
        leaseMs: runs[0]?.owner_silent ? SILENT_LEASE_MS : LEASE_MS,
        epoch,
      });
      holds.set(owner, [...(holds.get(owner) ?? []), ...jobs]);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return holds;
    after = { owner: last.owner, run_id: last.run_id };
  }
}

/**
 * Lets go of what has ended, parked or gone to another since Postgres was asked who executes it. That worker's word
 * to the queue may have come before the lease, so nobody would end it: a tenant's slot would be taken until it lapsed.
 */
export async function releaseMoved(stores: Stores, holds: RestoredLeases): Promise<void> {
  for (const [owner, jobs] of holds) {
    for (let at = 0; at < jobs.length; at += PAGE) {
      const page = jobs.slice(at, at + PAGE);
      const looks = await lookUp(stores.store, page);
      const moved = page.filter(({ run }) => {
        const look = looks.get(run);
        return look?.status !== "running" || look.owner !== owner;
      });
      if (moved.length > 0) await reconcileLeases(stores, moved, owner);
    }
  }
}

/** Tells the queue what Postgres says of runs that are leased to `holder`, and that Postgres did not give to it. */
export async function reconcileLeases(
  stores: Stores,
  jobs: readonly JobName[],
  holder: string,
): Promise<void> {
  const { store, queue } = stores;
  const looks = await lookUp(store, jobs);
  const holds: RestoredLeases = new Map();
  for (const name of jobs) {
    const look = looks.get(name.run);
    if (!look || TERMINAL.has(look.status)) {
      await queue.finish([name], holder);
    } else if (look.status === "running" && look.owner !== null && !look.owner_silent) {
      await queue.restoreLeases({ jobs: [jobOf(look)], owner: look.owner, leaseMs: HOLD_MS, holder });
      holds.set(look.owner, [...(holds.get(look.owner) ?? []), name]);
    } else {
      // Due later, or locked by somebody at this moment.
      const delayMs = Math.max(look.due_in_ms, 1_000);
      const status = look.status === "paused" ? ("paused" as const) : ("queued" as const);
      await queue.release([{ ...jobOf(look), status, delayMs }], holder);
    }
  }
  await releaseMoved(stores, holds);
}

async function lookUp(store: StateStore, jobs: readonly JobName[]): Promise<Map<string, RunLook>> {
  const looks = await store.lookUp(jobs.map(({ run }) => run));
  return new Map(looks.map((look) => [look.run_id, look]));
}
