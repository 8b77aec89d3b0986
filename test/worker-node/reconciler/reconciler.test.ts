import { Redis } from "ioredis";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { Service } from "../../../local/processes/child.ts";
import { ColdError } from "../../../shared/queue/shard-scripts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { RedisCommands } from "../../../shared/queue/script.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { dueRuns, scanBounds } from "../../../shared/store/runs/reconcile.ts";
import type { WaitingRun } from "../../../shared/store/runs/reconcile.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { beat } from "../../../shared/store/workers/workers.ts";
import { Reconciler } from "../../../worker-node/reconciler/reconciler.ts";
import { jobOf } from "../../../worker-node/reconciler/parts.ts";
import { startRedis } from "../../services/services.ts";
import { acme, beatOf, entryOf, openStore } from "../../shared/store/world.ts";
import type { Store } from "../../shared/store/world.ts";
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
  reconciler = new Reconciler({
    owner: newIncarnation("r"),
    store: state,
    queue,
    isolation: true,
    announceQueue: async () => {},
  });
});
afterEach(async () => {
  vi.useRealTimers();
  redis.disconnect();
  await Promise.all([store.close(), service.stop()]);
});

async function pass(): Promise<void> {
  reconciler.passSoon();
  await reconciler.stop();
}

/** Lets it look as if a run had been due for so long. */
const late = (run: RunId, seconds: number) =>
  store.sql`update runs set wake_at = now() - ${seconds} * interval '1 second' where run_id = ${run}`;

const readWaiting = async (run: RunId): Promise<WaitingRun> => {
  const [waiting] = await dueRuns(store.sql, { at: "-infinity", run_id: "" }, "infinity", 1);
  if (waiting?.run_id !== run) throw new Error(`${run} is not what waits`);
  return waiting;
};

const claim = async (slots = 100): Promise<RunId[]> =>
  (await queue.claim({ shard: 0, owner: "w#00000000", leaseMs: 15_000, slots, lanes, ended: [] })).runs.map(
    ({ run }) => run,
  );

test("a run whose edge died after the commit is shown to the queue", async () => {
  await pass();
  const run = await store.accept();
  await late(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

// Red when: what nobody needs is deleted before what everybody waits for is repaired, or is asked for once and no more.
test("a run is shown to the queue although what is old cannot be deleted; and that is tried again, until no more is left", async () => {
  let asked = 0;
  const answers = [unreachable, async () => true, async () => false];
  const deleteExpired = async () => (answers[asked++] ?? unreachable)();
  const parts = { store: { ...state, deleteExpired }, queue, isolation: true, announceQueue: async () => {} };
  reconciler = new Reconciler({ ...parts, owner: newIncarnation("r") });
  await pass();
  expect(asked).toBe(0);
  const start = performance.now() + 61_000;
  const clock = vi.spyOn(performance, "now").mockReturnValue(start);
  const run = await store.accept();
  await late(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
  for (let i = 0; i < 4; i++) await pass();
  expect(asked).toBe(3);
  clock.mockRestore();
});

// Red when: who repairs the queue keeps that to himself although he cannot reach it.
test("a run is shown to the queue also when who repaired it so far is cut off from Redis", async () => {
  const cut: Queue = new Queue({ evalsha: unreachable, eval: unreachable }, 1);
  const parts = { store: state, isolation: true, announceQueue: async () => {} };
  const first = new Reconciler({ ...parts, owner: newIncarnation("cut"), queue: cut });
  for (let i = 0; i < 2; i++) {
    first.passSoon();
    await first.stop();
  }
  const run = await store.accept();
  await late(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

describe("a Redis that was emptied", () => {
  test("says so, and knows everything again after a pass", async () => {
    await expect(claim()).rejects.toThrow(ColdError);
    const waiting = await Promise.all(Array.from({ length: 5 }, () => store.accept()));
    for (const run of waiting) await late(run, 100);
    await pass();
    expect(new Set(await claim())).toEqual(new Set(waiting));
    // Nobody is counted yet: who was let in without it may still be on his way into the database.
    expect(await queue.readIndex(0)).toMatchObject({ quotaReady: false });
    const { uptoMs } = await queue.readIndex(0);
    expect(Math.abs(uptoMs - Date.now())).toBeLessThan(10_000);
  });

  // Red when: claims open before what runs is held for its owner.
  test("gives a tenant no more than its limit, counting what runs", async () => {
    await pass();
    await store.sql`update tenants set max_concurrent_runs = 3 where tenant_id = ${acme}`;
    const running = [await store.running(), await store.running()];
    for (let i = 0; i < 5; i++) await late(await store.accept(), 100);
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

  // Red when: the sizes are not compared.
  test.each(["jobs", "queued_or_reserved", "order:default", "limits", "index", "ready"])(
    "of its key %s alone is rebuilt like one that was emptied of all",
    async (name) => {
      const runs = [await store.accept(), await store.accept()];
      for (const run of runs) await late(run, 100);
      await pass();
      const key =
        name === "ready" ? "synapse:orchestrations:default" : `{synapse:orchestrations:default}:${name}`;
      expect(await redis.unlink(key)).toBe(1);
      await expect(claim()).rejects.toThrow(ColdError);
      await pass();
      expect(new Set(await claim())).toEqual(new Set(runs));
    },
  );

  test("of a ring has it again after a pass", async () => {
    const run = await store.accept();
    await late(run, 100);
    await pass();
    await redis.unlink("{synapse:orchestrations:default}:ring:default");
    await late(run, 1_000);
    expect(await claim()).toEqual([]);
    await pass();
    expect(await claim()).toEqual([run]);
  });
});

// Red when: only what became due since the last walk is shown, and a queue that has finished a run is believed for an hour.
test("a run that waits again, as another Postgres took over without the last seconds, is shown to the queue", async () => {
  await pass();
  const run = await store.accept();
  await late(run, 60);
  await queue.enqueue([{ ...jobOf(await readWaiting(run)), status: "queued", delayMs: 0 }]);
  const before = await store.row(run);
  const [mine] = await claim();
  await queue.finish([{ run: mine ?? run, tenant: acme }], "w#00000000");
  await pass();
  expect(await store.row(run)).toEqual(before);
  expect(await claim()).toEqual([]);

  state.scanBounds = async (uptoMs) => ({ ...(await scanBounds(store.sql, uptoMs)), server: "another" });
  await pass();
  expect(await claim()).toEqual([run]);
});

// Red when: a walk begins where the last one ended, by a clock that has been set back since.
test("a run that became due after Postgres' clock was set back is shown to the queue", async () => {
  await pass();
  const ahead = Date.now() + 25_000;
  await queue.advanceScan(0, await queue.readIndex(0), "ahead", ahead);
  const run = await store.accept();
  await late(run, 3);
  await pass();
  expect(await claim()).toEqual([run]);
});

// Red when: a run that was taken from a silent worker waits for that worker's lease, by a clock that may be set back.
test("a run of a silent worker may be claimed as soon as it is taken from it", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  await pass();
  const run = await store.running();
  await queue.restoreLeases({ jobs: [jobOf(run)], owner: run.owner, leaseMs: 3_600_000 });
  await pass();
  vi.advanceTimersByTime(31_000);
  await pass();
  expect(await claim()).toEqual([run.run_id]);
});

describe("who stands still in a rebuild for longer than his lock", () => {
  type Step = "reset" | "hold" | "beginIndex";
  /** Stands before he takes the step, until he is let go. */
  function standingAt(step: Step) {
    const [reached, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const stand = async (at: Step): Promise<void> => {
      if (at !== step) return;
      reached.resolve();
      await released.promise;
    };
    class Standing extends Queue {
      override async reset(...args: Parameters<Queue["reset"]>) {
        await stand("reset");
        return super.reset(...args);
      }
      override async restoreLeases(...args: Parameters<Queue["restoreLeases"]>) {
        await stand("hold");
        return super.restoreLeases(...args);
      }
      override async beginIndex(...args: Parameters<Queue["beginIndex"]>) {
        await stand("beginIndex");
        return super.beginIndex(...args);
      }
    }
    const parts = { store: state, isolation: true, announceQueue: async () => {} };
    const one = new Reconciler({
      ...parts,
      owner: newIncarnation("stands"),
      queue: new Standing(commands, 1),
    });
    const stands = async (): Promise<void> => {
      one.passSoon();
      await reached.promise;
      await store.sql`update locks set until = now() - interval '1 second'`;
    };
    const goesOn = async (): Promise<void> => {
      released.resolve();
      await one.stop();
    };
    return { one, stands, goesOn };
  }

  // Red when: reset.lua empties what is known.
  test("before it has begun empties nothing that another has rebuilt meanwhile", async () => {
    const run = await store.accept();
    await late(run, 100);
    const { one, stands, goesOn } = standingAt("reset");
    await stands();
    await pass();
    const { epoch } = await queue.readIndex(0);
    await goesOn();
    expect(await queue.readIndex(0)).toMatchObject({ epoch });
    expect(await claim()).toEqual([run]);
    expect(one.repairs.rebuilt).toBe(0);
  });

  // Red when: `begin` asks nobody whose rebuild it is: the second run is claimed beyond its tenant's limit.
  test("before it is through opens nothing that another has emptied meanwhile, and has not told yet what runs", async () => {
    await store.sql`update tenants set max_concurrent_runs = 1, version = version + 1 where tenant_id = ${acme}`;
    await store.running();
    const waiting = await store.accept();
    await late(waiting, 100);
    const [first, second] = [standingAt("beginIndex"), standingAt("hold")];
    await first.stands();
    await second.stands();
    await first.goesOn();
    await expect(claim()).rejects.toThrow(ColdError);
    await second.goesOn();
    expect(await queue.tenantStats(acme)).toEqual({ active: 1, queuedOrReserved: 1 });
    expect(await claim()).toEqual([]);
    await pass();
    expect(reconciler.repairs.rebuilt).toBe(0);
  });

  // Red when: reset.lua leaves a rebuild to whoever has begun it: nobody would end one whose worker has died.
  test("keeps nobody from rebuilding", async () => {
    const run = await store.accept();
    await late(run, 100);
    const { stands, goesOn } = standingAt("beginIndex");
    await stands();
    await pass();
    expect(await claim()).toEqual([run]);
    const { epoch } = await queue.readIndex(0);
    await goesOn();
    expect(await queue.readIndex(0)).toMatchObject({ epoch });
  });

  // Red when: restore-leases.lua asks nobody whose rebuild it is: the run's worker is told that another has it.
  test("knowing who executed a run holds it for nobody, once another has asked anew", async () => {
    const run = await store.running();
    const [first, second] = [standingAt("hold"), standingAt("hold")];
    await first.stands();
    await state.handBack(run.owner, [run]);
    const other = await store.worker("other");
    await store.claim(other, run.run_id);
    await second.stands();
    await first.goesOn();
    await second.goesOn();
    expect(await queue.renew({ shard: 0, owner: other, leaseMs: 15_000, runs: [run.run_id] })).toEqual({
      lostLeases: [],
      unknownLeases: [],
    });
  });
});

test("limits that were changed act after a pass", async () => {
  await pass();
  for (let i = 0; i < 5; i++) await late(await store.accept(), 3);
  await pass();
  await store.sql`update tenants set max_concurrent_runs = 2, version = version + 1, updated_at = now() where tenant_id = ${acme}`;
  await pass();
  expect(await claim()).toHaveLength(2);
});

describe("what stands still for 30 s", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["performance"] });
  });
  const overdue = async () => {
    const run = await store.running();
    await store.sql`update runs set deadline_at = now() - interval '1 second' where run_id = ${run.run_id}`;
    return run;
  };
  const wait = (seconds: number) => vi.advanceTimersByTime(seconds * 1_000);

  // Red when: one look is enough.
  test("is taken back: from a worker that is silent, and from one that beats and does not move", async () => {
    const [silent, stuck] = [await store.running(), await overdue()];
    await pass();
    wait(29);
    await beat(store.sql, beatOf(stuck.owner));
    await pass();
    expect(await store.row(silent.run_id)).toMatchObject({ status: "running" });
    expect(await store.row(stuck.run_id)).toMatchObject({ status: "running" });
    wait(2);
    await pass();
    expect(await store.row(silent.run_id)).toMatchObject({ status: "queued", crash_count: 1 });
    expect(await store.row(stuck.run_id)).toMatchObject({ status: "queued", crash_count: 1 });
    expect(reconciler.repairs).toMatchObject({ silent: 1, overdue: 1 });
  });

  test("and moves again in time is left alone", async () => {
    const [alive, moving] = [await store.running(), await overdue()];
    await pass();
    wait(20);
    await beat(store.sql, beatOf(alive.owner));
    await flush(store.sql, [entryOf(moving, { deadline_ms: -1_000 })]);
    await beat(store.sql, beatOf(moving.owner));
    await pass();
    wait(15);
    await pass();
    expect(reconciler.repairs).toMatchObject({ silent: 0, overdue: 0 });
  });

  // Red when: an outage of Postgres does not start the observation anew: it would make every worker look dead.
  test("while Postgres was away is not counted, and while Redis was away is", async () => {
    const run = await store.running();
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

  test("is another's to find while another is the reconciler", async () => {
    const run = await store.running();
    await state.takeLock("reconciler", "another", 55_000);
    for (let i = 0; i < 3; i++) {
      await pass();
      wait(31);
    }
    expect(await store.row(run.run_id)).toMatchObject({ status: "running" });
  });
});
