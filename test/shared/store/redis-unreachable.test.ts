import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { claimDirectly } from "../../../shared/store/runs/claim-runs.ts";
import { acceptRuns } from "../../../shared/store/runs/accept-runs.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { onlineBeat, openStore } from "./store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import type { Store } from "./store-fixture.ts";
import { LiveLaneSettings } from "../../../worker-node/fleet/live-lane-settings.ts";
import { Heartbeat } from "../../../worker-node/fleet/heartbeat.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { TrackedRuns } from "../../../worker-node/fleet/tracked-runs.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";

let store: Store;
beforeEach(async () => {
  store = await openStore();
});
afterEach(() => store.close());

/** Adds a tenant with these limits and an orchestration `orch`. */
async function addTenant(id: string, limits: { queued?: number; concurrent?: number }): Promise<TenantId> {
  const tenant_id = TenantId.parse(id);
  const { queued = 1000, concurrent = 100 } = limits;
  await store.sql`
    insert into tenants (tenant_id, max_queued_runs, max_concurrent_runs) values (${tenant_id}, ${queued}, ${concurrent})`;
  await store.sql`
    insert into orchestrations (tenant_id, id, name, version) values (${tenant_id}, 'orch', 'orch', 1)`;
  return tenant_id;
}

describe("an accept whose quota Postgres checks", () => {
  // Fails when queue_room counts in the query that locks, or does not lock.
  test("never exceeds max_queued_runs, however many edges accept at once", async () => {
    const tenant_id = await addTenant("exact", { queued: 10 });
    const batches = Array.from({ length: 16 }, () => [newRun({ tenant_id }), newRun({ tenant_id })]);
    const accepted = await Promise.all(batches.map((runs) => acceptRuns(store.sql, runs, "postgres")));
    expect(accepted.reduce((sum, rows) => sum + rows.size, 0)).toBe(10);
    const [row] = await store.sql`select count(*)::int as n from runs where tenant_id = ${tenant_id}`;
    expect(row?.n).toBe(10);
  });

  test("never exceeds runs_per_minute, and counts the runs of the last minute alone", async () => {
    const tenant_id = await addTenant("minute", {});
    await store.sql`update tenants set runs_per_minute = 3 where tenant_id = ${tenant_id}`;
    const accept = () =>
      Promise.all(
        Array.from({ length: 8 }, () => acceptRuns(store.sql, [newRun({ tenant_id })], "postgres")),
      );
    const sizes = (await accept()).reduce((sum, rows) => sum + rows.size, 0);
    expect(sizes).toBe(3);
    await store.sql`update runs set status = 'cancelled', ended_at = now(), wake_at = null where tenant_id = ${tenant_id}`;
    expect((await accept()).reduce((sum, rows) => sum + rows.size, 0)).toBe(0);
    await store.sql`update runs set queued_at = now() - interval '62 s' where tenant_id = ${tenant_id}`;
    expect((await accept()).reduce((sum, rows) => sum + rows.size, 0)).toBe(3);
  });

  test("takes concurrent batches of many tenants in any order", async () => {
    const tenants = await Promise.all(Array.from({ length: 40 }, (_, i) => addTenant(`mix-${i}`, {})));
    const batches = Array.from({ length: 80 }, (_, i) => {
      const some = tenants.filter((_tenant, t) => (t * (i + 3)) % 7 < 4);
      return (i % 2 === 0 ? some : some.toReversed()).map((tenant_id) => newRun({ tenant_id }));
    });
    const accepted = await Promise.all(batches.map((runs) => acceptRuns(store.sql, runs, "postgres")));
    expect(accepted.map((rows) => rows.size)).toEqual(batches.map((runs) => runs.length));
  });
});

const unreachable = async (): Promise<never> => Promise.reject(new Error("connection refused"));

/** Makes all workers report that they cannot reach the queue. */
async function disconnectWorkers(): Promise<void> {
  await store.sql`update workers set redis_ok = false`;
}

describe("a direct claim", () => {
  // Fails when claimable_runs does not check whether a worker reaches the queue.
  test("gets no run while any worker reaches the queue, which would not count it", async () => {
    const tenant_id = await addTenant("queue-reached", { concurrent: 3 });
    await acceptRuns(store.sql, [newRun({ tenant_id })], "postgres");
    const alone = await store.addWorker("alone");
    expect(await claimDirectly(store.sql, alone, 5, Lane.options)).toEqual([]);
    await disconnectWorkers();
    expect(await claimDirectly(store.sql, alone, 5, Lane.options)).toHaveLength(1);
  });

  // Fails when claimable_runs reads queued runs only.
  test("takes over the runs of a silent worker, whatever their tenant's limit", async () => {
    const tenant_id = await addTenant("abandoned", { concurrent: 1 });
    const { run_id, owner } = await store.startRun({ tenant_id });
    // Deleted, not set back: while Postgres has been up for less than a silence an old beat does not make a worker silent.
    await store.sql`delete from workers where incarnation = ${owner}`;
    const successor = await store.addWorker("successor");
    await disconnectWorkers();
    const claimed = await claimDirectly(store.sql, successor, 5, Lane.options);
    expect(claimed.map((run) => [run.run_id, run.attempt, run.crash_count])).toEqual([[run_id, 2, 1]]);
  });

  // Fails when claimable_runs does not compare the lane of queued runs, or of abandoned ones.
  test("gets runs of the worker's own lanes only", async () => {
    const tenant_id = await addTenant("lanes", {});
    const [bulk, quick] = [newRun({ tenant_id, lane: "bulk" }), newRun({ tenant_id, lane: "interactive" })];
    await acceptRuns(store.sql, [bulk, quick], "postgres");
    const { run_id: abandoned, owner } = await store.startRun({ tenant_id, lane: "mail" });
    await store.sql`delete from workers where incarnation = ${owner}`;
    const worker = await store.addWorker("worker");
    await disconnectWorkers();
    const claimLanes = async (...lanes: Lane[]) =>
      (await claimDirectly(store.sql, worker, 5, lanes)).map(({ run_id }) => run_id);
    expect(await claimLanes("default", "interactive")).toEqual([quick.run_id]);
    expect(await claimLanes("mail")).toEqual([abandoned]);
    expect(await claimLanes("bulk")).toEqual([bulk.run_id]);
  });

  test("never exceeds max_concurrent_runs, however many workers claim at once", async () => {
    const limited = await addTenant("three", { concurrent: 3 });
    await acceptRuns(
      store.sql,
      Array.from({ length: 20 }, () => newRun({ tenant_id: limited })),
      "postgres",
    );
    const owners = await Promise.all(Array.from({ length: 8 }, (_, i) => store.addWorker(`w${i}`)));
    await disconnectWorkers();
    const claims = await Promise.all(
      owners.map((owner) => claimDirectly(store.sql, owner, 50, Lane.options)),
    );
    const claimed = claims.flat().filter((run) => run.tenant_id === limited);
    expect(claimed).toHaveLength(3);
    expect(new Set(claimed.map((run) => run.run_id)).size).toBe(3);
    const late = await store.addWorker();
    await disconnectWorkers();
    expect(await claimDirectly(store.sql, late, 50, Lane.options)).toEqual([]);
  });

  // Fails when claimable_runs does not hold the row `direct` until its transaction ends.
  test("waits for the direct claim before it, so that both do not count the same free slot", async () => {
    const limited = await addTenant("one", { concurrent: 1 });
    await acceptRuns(store.sql, [newRun({ tenant_id: limited }), newRun({ tenant_id: limited })], "postgres");
    const [first, second] = [await store.addWorker("first"), await store.addWorker("second")];
    await disconnectWorkers();
    let later: Promise<unknown[]> = Promise.resolve([]);
    await store.sql.begin(async (tx) => {
      await tx`select claimable_runs('another', 1, ${pgArray(Lane.options)}::text[])`;
      later = claimDirectly(store.sql, second, 5, Lane.options);
      await expect.poll(() => store.countLockWaits()).toBe(1);
      await tx`
        update runs set status = 'running', owner = ${first}, deadline_at = now() + interval '60 s'
        where run_id = (select run_id from runs where tenant_id = ${limited} order by run_id desc limit 1)`;
    });
    expect(await later).toEqual([]);
  });

  // Fails when `announceQueue` does not take the row `direct`, or takes it before its beat.
  test("has ended, and no other begins, when a worker has announced that it reaches the queue", async () => {
    const tenant_id = await addTenant("found", { concurrent: 1 });
    await acceptRuns(store.sql, [newRun({ tenant_id }), newRun({ tenant_id })], "postgres");
    const [away, found] = [await store.addWorker("away"), await store.addWorker("found")];
    await disconnectWorkers();
    const queue = new Queue({ evalsha: unreachable, eval: unreachable }, 1);
    const report = () => onlineBeat(found);
    const state = stateStore(store.sql);
    const links = new QueueLinks(1, workerTiming);
    const tracked = new TrackedRuns();
    const laneSettings = new LiveLaneSettings();
    const fleet = { links, tracked, laneSettings, timing: workerTiming };
    const heartbeat = new Heartbeat({ ...fleet, owner: found, store: state, queue, report });
    let announced = Promise.resolve();
    await store.sql.begin(async (tx) => {
      await tx`select claimable_runs('another', 1, ${pgArray(Lane.options)}::text[])`;
      announced = heartbeat.announceQueue();
      await expect.poll(() => store.countLockWaits()).toBe(1);
    });
    await announced;
    expect(await claimDirectly(store.sql, away, 5, Lane.options)).toEqual([]);
    await heartbeat.beat();
    expect(await claimDirectly(store.sql, away, 5, Lane.options)).toEqual([]);
  });

  test("lets tenants take turns, and takes each tenant's oldest runs first", async () => {
    const [tenantA, tenantB] = [await addTenant("turn-a", {}), await addTenant("turn-b", {})];
    const runsOf = async (tenant_id: TenantId, n: number) => {
      const runs = Array.from({ length: n }, () => newRun({ tenant_id }));
      for (const run of runs) await acceptRuns(store.sql, [run], "postgres");
      return runs.map((run) => run.run_id);
    };
    const [first, second] = [await runsOf(tenantA, 6), await runsOf(tenantB, 2)];
    const owner = await store.addWorker();
    await disconnectWorkers();
    const claimed = await claimDirectly(store.sql, owner, 6, Lane.options);
    expect(new Set(claimed.map((run) => run.run_id))).toEqual(new Set([...first.slice(0, 2), ...second]));
  });

  // Fails when claimable_runs does not count what the claimer holds already.
  test("leaves a slot for a newcomer, also in a worker that is full of another tenant's runs", async () => {
    const [greedy, quiet] = [
      await addTenant("greedy", { concurrent: 50, queued: 50 }),
      await addTenant("quiet", {}),
    ];
    await acceptRuns(
      store.sql,
      Array.from({ length: 30 }, () => newRun({ tenant_id: greedy })),
      "postgres",
    );
    const owner = await store.addWorker("full");
    await disconnectWorkers();
    expect(await claimDirectly(store.sql, owner, 20, Lane.options)).toHaveLength(10);
    expect(await claimDirectly(store.sql, owner, 10, Lane.options)).toEqual([]);
    await acceptRuns(store.sql, [newRun({ tenant_id: quiet })], "postgres");
    const claimed = await claimDirectly(store.sql, owner, 10, Lane.options);
    expect(claimed.map(({ tenant_id }) => tenant_id)).toEqual([quiet]);
  });
});
