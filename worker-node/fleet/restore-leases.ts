/**
 * Makes the leases of a shard agree with Postgres: docs/protocol.md 5.2 and 7.2. Guarantee: after `restoreRunningLeases` and
 * `releaseMoved` every running run of the shard has a lease of its owner, so that its tenant's slots are counted, and no run
 * that moved meanwhile keeps one.
 */
import { TERMINAL } from "../../shared/contracts/run.ts";
import { queueShardOf } from "../../shared/keys.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { RunSnapshot } from "../../shared/store/runs/run-snapshots.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { jobOf } from "../../shared/queue/job.ts";

/** The most rows or jobs that one statement or script handles. */
const PAGE = 1_000;
/** The lease of a silent owner: the slot stays counted, and the next worker that claims takes the run over. */
const SILENT_LEASE_MS = 100;
/** The shortest delay of a released job: another worker may be claiming the run now. */
const MIN_DELAY_MS = 1_000;

/** The stores between which leases are made to agree: Postgres decides, the queue follows. */
export type LeaseStores = { store: StateStore; queue: Queue };
/** The jobs whose leases were restored, by owner. */
type RestoredLeases = Map<string, JobName[]>;

/**
 * How long the restored lease of a run lasts: the run may be claimed as soon as its owner is silent. An owner that beats
 * renews its leases before.
 */
function restoredLeaseMs({
  owner_silent,
  silent_in_ms,
}: Pick<RunSnapshot, "owner_silent" | "silent_in_ms">): number {
  return Math.ceil(owner_silent ? 0 : silent_in_ms) + SILENT_LEASE_MS;
}

/**
 * Restores the leases of all running runs of a shard that was unreachable or is being rebuilt. `epoch`: of that rebuild.
 * The caller passes the result to `releaseMoved`.
 */
export async function restoreRunningLeases(
  { store, queue }: LeaseStores,
  shard: number,
  epoch?: string,
): Promise<RestoredLeases> {
  const restored: RestoredLeases = new Map();
  let after = { owner: "", run_id: "" };
  for (;;) {
    const page = await store.listRunningRuns(after, PAGE);
    const ofShard = page.filter((run) => queueShardOf(run.tenant_id, queue.shards) === shard);
    for (const [owner, runs] of Map.groupBy(ofShard, (run) => run.owner)) {
      const jobs = runs.map(jobOf);
      const leaseMs = Math.min(...runs.map(restoredLeaseMs));
      await queue.restoreLeases({ jobs, owner, leaseMs, epoch });
      restored.set(owner, [...(restored.get(owner) ?? []), ...jobs]);
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return restored;
    after = { owner: last.owner, run_id: last.run_id };
  }
}

/**
 * Releases restored leases of runs that ended, parked or changed their owner since Postgres was read. The owner's `finish` or
 * `release` may have come before the lease was restored: then nothing else ends the lease, and it takes a slot of the
 * tenant until it lapses.
 */
export async function releaseMoved(stores: LeaseStores, restored: RestoredLeases): Promise<void> {
  for (const [owner, jobs] of restored) {
    for (let start = 0; start < jobs.length; start += PAGE) {
      const page = jobs.slice(start, start + PAGE);
      const snapshots = await readSnapshots(stores.store, page);
      const moved = page.filter(({ run }) => {
        const snapshot = snapshots.get(run);
        return snapshot?.status !== "running" || snapshot.owner !== owner;
      });
      if (moved.length > 0) await reconcileLeases(stores, moved, owner);
    }
  }
}

/**
 * Makes the queue agree with Postgres on jobs that the queue leased to `leasedTo` although Postgres did not let it claim their runs.
 * @returns the time until the first of the jobs may be claimed again, in milliseconds
 */
export async function reconcileLeases(
  stores: LeaseStores,
  jobs: readonly JobName[],
  leasedTo: string,
): Promise<number> {
  const { store, queue } = stores;
  const snapshots = await readSnapshots(store, jobs);
  let claimableInMs = Infinity;
  const restored: RestoredLeases = new Map();
  for (const name of jobs) {
    const snapshot = snapshots.get(name.run);
    if (!snapshot || TERMINAL.has(snapshot.status)) {
      await queue.finish([name], leasedTo);
    } else if (snapshot.status === "running" && snapshot.owner !== null) {
      // Restored for a silent owner too: a release would free the slot of a run that Postgres counts as running.
      const leaseMs = restoredLeaseMs(snapshot);
      claimableInMs = Math.min(claimableInMs, leaseMs);
      const { owner } = snapshot;
      await queue.restoreLeases({ jobs: [jobOf(snapshot)], owner, holder: leasedTo, leaseMs });
      restored.set(owner, [...(restored.get(owner) ?? []), name]);
    } else {
      // The run is due later, or another statement has its row locked at this moment.
      const delayMs = Math.max(snapshot.due_in_ms, MIN_DELAY_MS);
      claimableInMs = Math.min(claimableInMs, delayMs);
      const status = snapshot.status === "paused" ? ("paused" as const) : ("queued" as const);
      await queue.release([{ ...jobOf(snapshot), status, delayMs }], leasedTo);
    }
  }
  await releaseMoved(stores, restored);
  return claimableInMs;
}

async function readSnapshots(store: StateStore, jobs: readonly JobName[]): Promise<Map<string, RunSnapshot>> {
  const snapshots = await store.readRunSnapshots(jobs.map(({ run }) => run));
  return new Map(snapshots.map((snapshot) => [snapshot.run_id, snapshot]));
}
