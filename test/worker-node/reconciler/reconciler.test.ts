import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Service } from "../../../local/processes/child.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { RedisCommands } from "../../../shared/queue/scripts.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { listDueRuns, readScanBounds } from "../../../shared/store/runs/due-runs.ts";
import type { DueRun } from "../../../shared/store/runs/due-runs.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { Reconciler } from "../../../worker-node/reconciler/reconciler.ts";
import { jobOf } from "../../../shared/queue/job.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { startRedis } from "../../services/services.ts";
import { acme, onlineBeat, stepEntry, openStore } from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";

const lanes = { default: 100 };
const unreachable = async (): Promise<never> => Promise.reject(new Error("connection refused"));
let store: Store;
let service: Service;
let commands: RedisCommands;
let redis: Redis;
let queue: Queue;
let state: StateStore;
let reconciler: Reconciler;

beforeEach(async () => {
  [store, service] = await Promise.all([openStore(), startRedis()]);
  redis = new Redis(service.url, { protocol: 2, maxRetriesPerRequest: 1 });
  redis.on("error", () => {});
  commands = scriptCommands(redis);
  queue = new Queue(commands, 1);
  state = stateStore(store.sql);
  reconciler = newReconciler("r", {});
});
afterEach(async () => {
  vi.useRealTimers();
  redis.disconnect();
  await Promise.all([store.close(), service.stop()]);
});

function newReconciler(name: string, parts: { store?: StateStore; queue?: Queue }): Reconciler {
  return new Reconciler({
    files: () => null,
    owner: newIncarnation(name),
    store: state,
    queue,
    links: new QueueLinks(1, workerTiming),
    timing: workerTiming,
    isolation: true,
    announceQueue: async () => {},
    ...parts,
  });
}

async function pass(): Promise<void> {
  reconciler.passSoon();
  await reconciler.stop();
}

/** Moves a run's due time this many seconds into the past. */
const makeDue = (run: RunId, seconds: number) =>
  store.sql`update runs set wake_at = now() - ${seconds} * interval '1 second' where run_id = ${run}`;

const readWaiting = async (run: RunId): Promise<DueRun> => {
  const [waiting] = await listDueRuns(store.sql, { at: "-infinity", run_id: "" }, "infinity", 1);
  if (waiting?.run_id !== run) throw new Error(`${run} is not the first waiting run`);
  return waiting;
};

const claim = async (slots = 100): Promise<RunId[]> =>
  (await queue.claim({ shard: 0, owner: "w#00000000", leaseMs: 15_000, slots, lanes, ended: [] })).runs.map(
    ({ run }) => run,
  );

test("a run whose edge died after the commit is enqueued", async () => {
  await pass();
  const run = await store.accept();
  await makeDue(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

// Fails when only the edge that raised the budget wakes the run: it may die, or look before the run has parked.
test("a run that waits for a budget is queued by the next pass after the budget has changed", async () => {
  await pass();
  await store.sql`
    insert into budgets (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, period_start)
    values (${acme}, 'month', 'tenant', 'month', 0, 'pause', budget_period_start('month'))`;
  const run = await store.startRun();
  const fields = JSON.stringify({ budget_id: "month", version: 1 });
  const wait = { wait_id: "w", step_id: "a", kind: "budget" as const, prompt: null, fields };
  const waits = [{ ...wait, deadline_ms: null, child_run_id: null }];
  const park = { kind: "park" as const, status: "paused" as const, wake_ms: 3_600_000, waits };
  await flush(store.sql, [stepEntry(run, park)]);
  await pass();
  expect((await store.row(run.run_id))["status"]).toBe("paused");
  await store.sql`update budgets set limit_micro_usd = 1000000, version = version + 1`;
  await pass();
  expect((await store.row(run.run_id))["status"]).toBe("queued");
  expect(await claim()).toEqual([run.run_id]);
});

// Fails when retention comes before the repair of the queue, or does not go on until no expired rows are left.
test("a run is enqueued although retention fails; retention is tried again a minute later, until no expired rows are left", async () => {
  let deletions = 0;
  const replies = [unreachable, async () => true, async () => false];
  const deleteExpired = async () => (replies[deletions++] ?? unreachable)();
  reconciler = newReconciler("r", { store: { ...state, deleteExpired } });
  await pass();
  expect(deletions).toBe(0);
  const start = performance.now() + 61_000;
  const clock = vi.spyOn(performance, "now").mockReturnValue(start);
  const run = await store.accept();
  await makeDue(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
  await pass();
  expect(deletions).toBe(1);
  clock.mockReturnValue(start + 60_000);
  for (let i = 0; i < 4; i++) await pass();
  expect(deletions).toBe(3);
  clock.mockRestore();
});

// Fails when the first repair that fails ends the pass: one that always fails would keep all others from their work.
test("a repair that always fails does not stop the others", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  let retained = 0;
  const failing = { wakeTurns: unreachable, wakeBudgetWaits: unreachable, countRuns: unreachable };
  const deleteExpired = async () => {
    retained += 1;
    return false;
  };
  reconciler = newReconciler("r", {
    store: { ...state, ...failing, repairSingletons: unreachable, deleteExpired },
  });
  await pass();
  const [silent, lost] = [await store.startRun(), await store.accept()];
  await makeDue(lost, 3);
  await pass();
  expect(await claim()).toEqual([lost]);
  vi.advanceTimersByTime(61_000);
  await pass();
  expect(await store.row(silent.run_id)).toMatchObject({ status: "queued", crash_count: 1 });
  expect(retained).toBe(1);
});

// Fails when a reconciler that cannot reach the queue keeps the lock for its repair.
test("a run is enqueued also when the reconciler that repaired the queue so far is cut off from Redis", async () => {
  const cut: Queue = new Queue({ evalsha: unreachable, eval: unreachable }, 1);
  const first = newReconciler("cut", { queue: cut });
  for (let i = 0; i < 2; i++) {
    first.passSoon();
    await first.stop();
  }
  const run = await store.accept();
  await makeDue(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

describe("a Redis that was emptied", () => {
  test("replies that it is cold, and has every run again after a pass", async () => {
    await expect(claim()).rejects.toThrow(ColdError);
    const waiting = await Promise.all(Array.from({ length: 5 }, () => store.accept()));
    for (const run of waiting) await makeDue(run, 100);
    const beganMs = Date.now();
    await pass();
    expect(new Set(await claim())).toEqual(new Set(waiting));
    // Quotas are not counted yet: a run that was accepted without this index may not be committed yet.
    expect(await queue.readIndex(0)).toMatchObject({ quotaReady: false });
    const { uptoMs } = await queue.readIndex(0);
    expect(uptoMs).toBeGreaterThan(beganMs - 10_000);
    expect(uptoMs).toBeLessThan(Date.now());
  });

  // Fails when only due runs get their jobs back: a tenant could queue as many runs again as it has with a later start.
  test("counts the queued runs that are not due yet, and no worker claims them", async () => {
    await makeDue(await store.accept(), 100);
    const later = await store.accept({ delay_ms: 3_600_000 });
    // A run that is paused does not count, so it gets its job when it is due.
    const paused = await store.accept({ delay_ms: 60_000 });
    await store.sql`update runs set status = 'paused', paused_at = now() where run_id = ${paused}`;
    await pass();
    expect(await queue.tenantStats(acme)).toEqual({ active: 0, queuedOrReserved: 2 });
    expect(await queue.stats(0)).toMatchObject({ due: 1, timer: 0 });
    expect(await claim()).not.toContain(later);
    await makeDue(later, 3);
    await pass();
    expect(await claim()).toEqual([later]);
  });

  // Fails when claims open before the leases of running runs are restored.
  test("leases no more jobs of a tenant than its limit, running runs included", async () => {
    await pass();
    await store.sql`update tenants set max_concurrent_runs = 3 where tenant_id = ${acme}`;
    const running = [await store.startRun(), await store.startRun()];
    for (let i = 0; i < 5; i++) await makeDue(await store.accept(), 100);
    await redis.flushall();
    await pass();
    expect(await queue.tenantStats(acme)).toEqual({ active: 2, queuedOrReserved: 5 });
    expect(await claim()).toHaveLength(1);
    const owner = running[0]?.owner ?? "";
    const renewed = await queue.renew({
      shard: 0,
      owner,
      leaseMs: 15_000,
      runs: running.map(({ run_id }) => run_id),
    });
    expect(renewed.lostLeases).toEqual([running[1]?.run_id]);
    expect(renewed.unknownLeases).toEqual([]);
  });

  // Fails when the scripts do not compare the sizes of the keys.
  test.each(["jobs", "queued_or_reserved", "limits", "index", "ready"])(
    "of its key %s alone is rebuilt like a Redis that has lost all keys",
    async (name) => {
      const runs = [await store.accept(), await store.accept()];
      for (const run of runs) await makeDue(run, 100);
      await pass();
      const key =
        name === "ready" ? "synapse:orchestrations:default" : `{synapse:orchestrations:default}:${name}`;
      expect(await redis.unlink(key)).toBe(1);
      // The next claim compares the sizes, however soon it comes.
      await redis.hdel("{synapse:orchestrations:default}:index", "checked_ms");
      await expect(claim()).rejects.toThrow(ColdError);
      await pass();
      expect(new Set(await claim())).toEqual(new Set(runs));
    },
  );

  test("of the keys of a ring alone has the ring again after a pass", async () => {
    const run = await store.accept();
    await makeDue(run, 100);
    await pass();
    await redis.unlink("{synapse:orchestrations:default}:ring:default");
    await makeDue(run, 1_000);
    expect(await claim()).toEqual([]);
    await pass();
    expect(await claim()).toEqual([run]);
  });
});

// Fails when only an emptied queue gets the runs that are due later: a run that was accepted without the queue would not count in its tenant's quota.
test("a queue whose counts are invalid gets all queued runs again, and one whose counts hold gets only the due ones", async () => {
  await pass();
  await redis.hset("{synapse:orchestrations:default}:index", "quota_ready", "1");
  await store.accept({ delay_ms: 3_600_000 });
  await pass();
  expect(await queue.tenantStats(acme)).toEqual({ active: 0, queuedOrReserved: 0 });
  await queue.invalidateCounts(0);
  expect(await queue.readIndex(0)).toMatchObject({ quotaReady: false });
  await pass();
  expect(await queue.tenantStats(acme)).toEqual({ active: 0, queuedOrReserved: 1 });
});

// Fails when such a run waits for the hourly scan: it became due before the last scan, and the queue has finished its job.
test("a run that is queued again, because another Postgres took over without the last seconds, is enqueued", async () => {
  await pass();
  const run = await store.accept();
  await makeDue(run, 60);
  await queue.enqueue([{ ...jobOf(await readWaiting(run)), status: "queued", delayMs: 0 }]);
  const before = await store.row(run);
  const [claimed] = await claim();
  await queue.finish([{ run: claimed ?? run, tenant: acme }], "w#00000000");
  await pass();
  expect(await store.row(run)).toEqual(before);
  expect(await claim()).toEqual([]);

  state.readScanBounds = async (uptoMs) => ({
    ...(await readScanBounds(store.sql, uptoMs)),
    server: "another",
  });
  await pass();
  expect(await claim()).toEqual([run]);
});

// Fails when a scan begins where the last one ended, by a clock that was set back since.
test("a run that became due after Postgres' clock was set back is enqueued", async () => {
  await pass();
  const ahead = Date.now() + 25_000;
  await queue.advanceScan(0, await queue.readIndex(0), "ahead", ahead);
  const run = await store.accept();
  await makeDue(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

// Fails when a reclaimed run waits until the silent worker's lease lapses: the clock of Redis may have been set back.
test("a run of a silent worker can be claimed as soon as it is reclaimed", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  await pass();
  const run = await store.startRun();
  await queue.restoreLeases({ jobs: [jobOf(run)], owner: run.owner, leaseMs: 3_600_000 });
  await pass();
  vi.advanceTimersByTime(31_000);
  await pass();
  expect(await claim()).toEqual([run.run_id]);
});

describe("a reconciler that pauses in a rebuild for longer than its lock", () => {
  type Step = "reset" | "restoreLeases" | "beginIndex";
  /** A reconciler that pauses before a step until the test resumes it. */
  function pausingAt(step: Step) {
    const [reached, resumed] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const pause = async (at: Step): Promise<void> => {
      if (at !== step) return;
      reached.resolve();
      await resumed.promise;
    };
    class PausingQueue extends Queue {
      override async reset(...args: Parameters<Queue["reset"]>) {
        await pause("reset");
        return super.reset(...args);
      }
      override async restoreLeases(...args: Parameters<Queue["restoreLeases"]>) {
        await pause("restoreLeases");
        return super.restoreLeases(...args);
      }
      override async beginIndex(...args: Parameters<Queue["beginIndex"]>) {
        await pause("beginIndex");
        return super.beginIndex(...args);
      }
    }
    const pausing = newReconciler("pauses", { queue: new PausingQueue(commands, 1) });
    /** It pauses at the step, and its locks lapse. */
    const pauses = async (): Promise<void> => {
      pausing.passSoon();
      await reached.promise;
      await store.sql`update locks set until = now() - interval '1 second'`;
    };
    const resume = async (): Promise<void> => {
      resumed.resolve();
      await pausing.stop();
    };
    return { pausing, pauses, resume };
  }

  // Fails when reset.lua empties a shard that has an index.
  test("before its reset, empties nothing that another reconciler has rebuilt meanwhile", async () => {
    const run = await store.accept();
    await makeDue(run, 100);
    const { pausing, pauses, resume } = pausingAt("reset");
    await pauses();
    await pass();
    const { epoch } = await queue.readIndex(0);
    await resume();
    expect(await queue.readIndex(0)).toMatchObject({ epoch });
    expect(await claim()).toEqual([run]);
    expect(pausing.repairs.rebuilt).toBe(0);
  });

  // Fails when `beginIndex` does not compare the epoch: the second run is claimed beyond its tenant's limit.
  test("before it begins the index, opens no claims of a shard that another reconciler has reset meanwhile", async () => {
    await store.sql`update tenants set max_concurrent_runs = 1, version = version + 1 where tenant_id = ${acme}`;
    await store.startRun();
    const waiting = await store.accept();
    await makeDue(waiting, 100);
    const [first, second] = [pausingAt("beginIndex"), pausingAt("restoreLeases")];
    await first.pauses();
    await second.pauses();
    await first.resume();
    await expect(claim()).rejects.toThrow(ColdError);
    await second.resume();
    expect(await queue.tenantStats(acme)).toEqual({ active: 1, queuedOrReserved: 1 });
    expect(await claim()).toEqual([]);
    await pass();
    expect(reconciler.repairs.rebuilt).toBe(0);
  });

  // Fails when reset.lua refuses a shard that another reconciler is rebuilding: if that reconciler died, the shard would stay cold.
  test("does not keep another reconciler from rebuilding", async () => {
    const run = await store.accept();
    await makeDue(run, 100);
    const { pauses, resume } = pausingAt("beginIndex");
    await pauses();
    await pass();
    expect(await claim()).toEqual([run]);
    const { epoch } = await queue.readIndex(0);
    await resume();
    expect(await queue.readIndex(0)).toMatchObject({ epoch });
  });

  // Fails when restoring leases does not compare the epoch: the new owner's renewal would be answered with a lost lease.
  test("after it read the running runs, restores no lease once another reconciler has reset the shard", async () => {
    const run = await store.startRun();
    const [first, second] = [pausingAt("restoreLeases"), pausingAt("restoreLeases")];
    await first.pauses();
    await state.handBack(run.owner, [run]);
    const other = await store.addWorker("other");
    await store.claim(other, run.run_id);
    await second.pauses();
    await first.resume();
    await second.resume();
    expect(await queue.renew({ shard: 0, owner: other, leaseMs: 15_000, runs: [run.run_id] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
  });
});

test("changed limits act after a pass", async () => {
  await pass();
  for (let i = 0; i < 5; i++) await makeDue(await store.accept(), 3);
  await pass();
  await store.sql`update tenants set max_concurrent_runs = 2, version = version + 1, updated_at = now() where tenant_id = ${acme}`;
  await pass();
  expect(await claim()).toHaveLength(2);
});

// Fails when the queue keeps limits that it got before Postgres was restored from a backup.
test("limits act after a pass although the queue has a version that Postgres has lost", async () => {
  await pass();
  await store.sql`update tenants set max_concurrent_runs = 4, version = 9, updated_at = now() where tenant_id = ${acme}`;
  await pass();
  await store.sql`update tenants set max_concurrent_runs = 2, version = 3, updated_at = now() where tenant_id = ${acme}`;
  await pass();
  for (let i = 0; i < 5; i++) await makeDue(await store.accept(), 3);
  await pass();
  expect(await claim()).toHaveLength(2);
});

describe("a run whose worker did nothing for 30 s", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance"] });
  });
  const overdue = async () => {
    const run = await store.startRun();
    await store.sql`update runs set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    return run;
  };
  const wait = (seconds: number) => vi.advanceTimersByTime(seconds * 1_000);

  // Fails when one observation is enough.
  test("is reclaimed: from a worker that is silent, and from one that beats and does not move the run", async () => {
    const [silent, stuck] = [await store.startRun(), await overdue()];
    await pass();
    wait(29);
    await beat(store.sql, onlineBeat(stuck.owner));
    await pass();
    expect(await store.row(silent.run_id)).toMatchObject({ status: "running" });
    expect(await store.row(stuck.run_id)).toMatchObject({ status: "running" });
    wait(2);
    await pass();
    expect(await store.row(silent.run_id)).toMatchObject({ status: "queued", crash_count: 1 });
    expect(await store.row(stuck.run_id)).toMatchObject({ status: "queued", crash_count: 1 });
    expect(reconciler.repairs).toMatchObject({ silent: 1, overdue: 1 });
  });

  test("is left to a worker that beats or moves the run in time", async () => {
    const [alive, moving] = [await store.startRun(), await overdue()];
    await pass();
    wait(20);
    await beat(store.sql, onlineBeat(alive.owner));
    await flush(store.sql, [stepEntry(moving, { deadline_ms: -1_000 })]);
    await beat(store.sql, onlineBeat(moving.owner));
    await pass();
    wait(15);
    await pass();
    expect(reconciler.repairs).toMatchObject({ silent: 0, overdue: 0 });
  });

  // Fails when an outage of Postgres does not restart the observation: it would make every worker look dead.
  test("is observed anew after an outage of Postgres; an outage of Redis does not interrupt the observation", async () => {
    const run = await store.startRun();
    const { listOwners } = state;
    await pass();
    wait(20);
    state.listOwners = async () => Promise.reject(new Error("connection refused"));
    await pass();
    state.listOwners = listOwners;
    wait(20);
    await pass();
    expect(await store.row(run.run_id)).toMatchObject({ status: "running" });
    await service.stop();
    wait(20);
    await pass();
    wait(20);
    await pass();
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued" });
  });

  // Fails when only a failure of the reclaim itself restarts the observation: an outage may begin after it, and take the rest of the pass.
  test("is observed anew after an outage of Postgres that began in the middle of a pass, which ends there", async () => {
    const run = await store.startRun();
    const { wakeTurns, takeLock, wakeBudgetWaits } = state;
    let repairs = 0;
    state.wakeTurns = async () => {
      state.takeLock = unreachable;
      return unreachable();
    };
    state.wakeBudgetWaits = async () => {
      repairs += 1;
      return [];
    };
    await pass();
    expect(repairs).toBe(0);
    Object.assign(state, { wakeTurns, takeLock, wakeBudgetWaits });
    wait(31);
    await pass();
    expect(await store.row(run.run_id)).toMatchObject({ status: "running" });
    wait(31);
    await pass();
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued" });
  });

  test("is left to the reconciler that holds the lock", async () => {
    const run = await store.startRun();
    await state.takeLock("reconciler", "another", 55_000);
    for (let i = 0; i < 3; i++) {
      await pass();
      wait(31);
    }
    expect(await store.row(run.run_id)).toMatchObject({ status: "running" });
  });
});
