import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { DefinitionId } from "../../../shared/contracts/ids.ts";
import type { TenantId } from "../../../shared/contracts/ids.ts";
import type { Schedule } from "../../../shared/contracts/schedule.ts";
import { NO_LIMIT } from "../../../shared/queue/limits.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { runOfTick } from "../../../shared/schedules/ticks.ts";
import {
  deleteSchedule,
  listTicks,
  readSchedule,
  saveSchedule,
  setPaused,
} from "../../../shared/store/schedules/schedule-rows.ts";
import { stateStore } from "../../../shared/store/state.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { Scheduler } from "../../../worker-node/schedules/scheduler.ts";
import { startRedis } from "../../services/services.ts";
import { until, untilLockWait } from "../../services/waiting.ts";
import { makeQuotaReady } from "../../shared/queue/rebuild-shard.ts";
import { acme, globex, openStore } from "../../shared/store/store-fixture.ts";
import type { Store } from "../../shared/store/store-fixture.ts";

let store: Store;
let service: Service;
let redis: Redis;
let queue: Queue;
let state: StateStore;

beforeAll(async () => {
  [store, service] = await Promise.all([openStore(), startRedis()]);
  redis = new Redis(service.url, { protocol: 2 });
  queue = new Queue(scriptCommands(redis), 1);
  state = stateStore(store.sql);
});
afterAll(async () => {
  redis.disconnect();
  await Promise.all([store.close(), service.stop()]);
});
beforeEach(async () => {
  await store.sql`truncate schedules, schedule_ticks, runs, singleton_holders`;
  await redis.flushall();
  await makeQuotaReady(queue, 0, Date.now());
  await limit(1000);
});

let version = 1_000;
const limit = async (queued: number) => {
  version += 1;
  await store.sql`update tenants set max_queued_runs = ${queued}, version = version + 1`;
  const tenants = [acme, globex].map((tenant) => ({
    tenant,
    version,
    maxConcurrentRuns: 100,
    maxQueuedRuns: queued,
    requestsPerSecond: 10_000,
    runsPerMinute: NO_LIMIT,
    weight: 1,
  }));
  await queue.pushLimits(tenants);
};

const newScheduler = (parts: { store?: StateStore; queue?: Queue } = {}) =>
  new Scheduler({ store: state, queue, maxQueueDepth: () => 1_000_000, ...parts });

/** Saves a schedule that fires each minute and whose next tick was `seconds` ago. */
async function due(seconds: number, changes: Partial<Schedule> = {}): Promise<Schedule> {
  // A minute that begins during the test makes one tick more due.
  await until("the minute does not end soon", () => Date.now() % 60_000 < 50_000);
  const minute = Math.floor(Date.now() / 60_000) * 60_000;
  const tick_ms = minute - Math.floor(seconds / 60) * 60_000;
  const saved = await saveSchedule(
    store.sql,
    {
      tenant_id: acme,
      id: DefinitionId.parse("minutely"),
      orchestration_id: DefinitionId.parse("orch"),
      cron: "* * * * *",
      timezone: "UTC",
      jitter_seconds: 0,
      overlap: "queue",
      catch_up: 0,
      paused: false,
      request: JSON.stringify({
        message: "",
        state: {},
        metadata: {},
        priority: 0,
        session_id: null,
        webhook_url: null,
      }),
      ...changes,
    },
    { tick_ms, start_ms: tick_ms },
  );
  if (!saved) throw new Error("the schedule was not saved");
  return saved;
}

const runs = async () => [
  ...(await store.sql<{ run_id: string; status: string; triggered_by: string }[]>`
    select run_id, status, triggered_by from runs order by run_id`),
];
const ticks = (tenant: TenantId = acme, id = "minutely") => listTicks(store.sql, tenant, id, 100);
const tryAgain = () => store.sql`update schedules set try_at = now()`;

describe("a tick that is due", () => {
  test("starts one run, which is in the queue, and the schedule waits for the next tick", async () => {
    const schedule = await due(0);
    const sleepMs = await newScheduler().pass();
    const [run] = await runs();
    expect(run).toMatchObject({ status: "queued", triggered_by: "cron" });
    expect((await queue.list(0, "0", 100)).jobs.map(({ run: id }) => String(id))).toEqual([run?.run_id]);
    const saved = await readSchedule(store.sql, acme, "minutely");
    expect(saved?.next_tick_at_ms).toBe((schedule.next_tick_at_ms ?? 0) + 60_000);
    expect(await ticks()).toMatchObject([{ outcome: "started", run_id: run?.run_id }]);
    expect(sleepMs).toBeLessThanOrEqual(1_000);
  });

  test("starts one run however many schedulers see it at the same time", async () => {
    for (let i = 0; i < 20; i++) await due(0, { id: `s-${i}` });
    await Promise.all(Array.from({ length: 5 }, () => newScheduler().pass()));
    expect(await runs()).toHaveLength(20);
    // A scheduler that pauses keeps its claim after it has lapsed, so several schedulers may have claimed the same schedules.
    await store.sql`update schedules set next_tick_at = next_tick_at - interval '1 minute', try_at = now()`;
    await store.sql`delete from schedule_ticks`;
    const claimed = await state.claimSchedules(100);
    const claimedByBoth = { ...state, claimSchedules: async () => claimed };
    await Promise.all([1, 2, 3].map(() => newScheduler({ store: claimedByBoth }).pass()));
    expect(await runs()).toHaveLength(20);
  });

  test("is one run, and reported as started, to all schedulers that accept it at the same moment", async () => {
    const run = await runOfTick(await due(0), Math.floor(Date.now() / 60_000) * 60_000);
    const starts = await Promise.all(Array.from({ length: 6 }, () => state.startTick(run, "queue")));
    expect(new Set(starts.map(({ is }) => is))).toEqual(new Set(["started"]));
    expect(await runs()).toHaveLength(1);
  });

  test("starts one run when its scheduler dies before it has saved the start, and another scheduler claims the tick 10 s later", async () => {
    await due(0);
    const dies = { ...state, saveFired: async () => Promise.reject(new Error("killed")) };
    await expect(newScheduler({ store: dies }).pass()).rejects.toThrow("killed");
    expect(await runs()).toHaveLength(1);
    expect((await state.claimSchedules(100)).schedules).toEqual([]);
    await tryAgain();
    await newScheduler().pass();
    expect(await runs()).toHaveLength(1);
    expect(await ticks()).toHaveLength(1);
  });

  test("is started although another schedule cannot be read", async () => {
    await due(0, { id: "broken", request: "{}" });
    await due(0, { id: "good", tenant_id: globex });
    await store.sql`insert into orchestrations select 'globex', id, name, description, version from orchestrations where tenant_id = 'acme' on conflict do nothing`;
    await newScheduler().pass();
    expect(await ticks(globex, "good")).toMatchObject([{ outcome: "started" }]);
  });

  test("takes its turn among the ticks of other tenants: it does not wait for all thousand ticks of another tenant", async () => {
    for (let i = 0; i < 120; i++) await due(60, { id: `many-${String(i).padStart(3, "0")}` });
    await due(0, { id: "one", tenant_id: globex });
    const { schedules } = await state.claimSchedules(100);
    expect(schedules.map(({ id }) => id)).toContain("one");
  });
});

describe("a tick for which there is no room", () => {
  test("is tried again, and started once there is room", async () => {
    await limit(0);
    const schedule = await due(0);
    await newScheduler().pass();
    expect(await runs()).toHaveLength(0);
    expect(await readSchedule(store.sql, acme, "minutely")).toMatchObject({
      refused: "queue_full",
      next_tick_at_ms: schedule.next_tick_at_ms,
    });
    await limit(10);
    await tryAgain();
    await newScheduler().pass();
    expect(await ticks()).toMatchObject([{ outcome: "started", tick_ms: schedule.next_tick_at_ms }]);
  });

  test("until the next one is due is missed, with the reason", async () => {
    const schedule = await due(60);
    await store.sql`update schedules set refused = 'queue_full'`;
    await newScheduler().pass();
    const [newest, missed] = await ticks();
    expect(missed).toMatchObject({
      outcome: "missed",
      reason: "queue_full",
      tick_ms: schedule.next_tick_at_ms,
    });
    expect(newest).toMatchObject({ outcome: "started" });
  });

  test("is tried again, and started once there is room, also by the count of Postgres while the queue cannot be reached", async () => {
    const away = {
      evalsha: async () => Promise.reject(new Error("away")),
      eval: async () => Promise.reject(new Error("away")),
    };
    const scheduler = newScheduler({ queue: new Queue(away, 1) });
    await limit(0);
    await due(0);
    await scheduler.pass();
    expect(await readSchedule(store.sql, acme, "minutely")).toMatchObject({ refused: "queue_full" });
    await limit(10);
    await tryAgain();
    await scheduler.pass();
    expect(await runs()).toHaveLength(1);
  });

  test("gives its reservation back when its run is not committed", async () => {
    await due(0, { orchestration_id: "gone" });
    await newScheduler().pass();
    expect(await ticks()).toMatchObject([{ outcome: "missed", reason: "not_found" }]);
    expect(await queue.stats(0)).toMatchObject({ reserved: 0 });
  });
});

describe("a tick while a run of the schedule goes on", () => {
  const tickTwice = async (overlap: Schedule["overlap"]) => {
    await due(0, { overlap, catch_up: 5 });
    await newScheduler().pass();
    const [first] = await runs();
    // Two minutes back: the tick before the started one becomes due, and the started one is due again.
    await store.sql`update schedules set next_tick_at = next_tick_at - interval '2 minutes', try_at = now()`;
    await newScheduler().pass();
    return first?.run_id;
  };

  test("is skipped with the policy skip, and names that run", async () => {
    const first = await tickTwice("skip");
    expect(await runs()).toHaveLength(1);
    const skipped = (await ticks()).filter(({ outcome }) => outcome === "skipped");
    expect(skipped).toMatchObject([{ run_id: first, reason: "overlap" }]);
    expect(await queue.stats(0)).toMatchObject({ reserved: 0 });
  });

  test("waits for it with the policy queue, and cancels it with cancel_previous", async () => {
    await tickTwice("queue");
    const waiting = await store.sql`select from runs where wake_at > now() + interval '1 day'`;
    expect([(await runs()).length, waiting.length]).toEqual([2, 1]);
    await store.sql`truncate runs, singleton_holders, schedules`;
    const first = await tickTwice("cancel_previous");
    const [row] = await store.sql`
      select cancel_requested_at is not null as cancel from runs where run_id = ${first ?? ""}`;
    expect(row?.cancel).toBe(true);
  });
});

test("a schedule that was paused, changed, deleted or made anew while its tick was started keeps that change", async () => {
  const paused = await due(0, { id: "paused" });
  await due(0, { id: "deleted" });
  await due(0, { id: "changed" });
  const before = await due(0, { id: "anew" });
  const tomorrow = Math.floor(Date.now() / 60_000) * 60_000 + 86_400_000;
  const slow: StateStore = {
    ...state,
    async saveFired(fired) {
      await setPaused(store.sql, paused, null);
      await deleteSchedule(store.sql, acme, "deleted");
      const changed = await readSchedule(store.sql, acme, "changed");
      const later = { tick_ms: tomorrow, start_ms: tomorrow };
      if (changed) await saveSchedule(store.sql, { ...changed, cron: "0 0 * * *" }, later);
      // It has the same version as the one before it.
      await deleteSchedule(store.sql, acme, "anew");
      await saveSchedule(store.sql, { ...before, cron: "0 0 * * *" }, later);
      return state.saveFired(fired);
    },
  };
  await newScheduler({ store: slow }).pass();
  expect(await readSchedule(store.sql, acme, "paused")).toMatchObject({
    paused: true,
    next_tick_at_ms: null,
  });
  expect(await readSchedule(store.sql, acme, "deleted")).toBeNull();
  expect(await readSchedule(store.sql, acme, "changed")).toMatchObject({ next_tick_at_ms: tomorrow });
  expect(await readSchedule(store.sql, acme, "anew")).toMatchObject({
    version: 1,
    next_tick_at_ms: tomorrow,
  });
});

// Fails when the start of a tick does not look at its schedule again: a run would start after the response to the pause, save or delete.
describe("a tick of a schedule that a client changes after a scheduler has claimed it", () => {
  const inAnHour = Date.now() + 3_600_000;
  const changes: Record<string, (schedule: Schedule) => Promise<unknown>> = {
    paused: (schedule) => setPaused(store.sql, schedule, null),
    "saved with other times": (schedule) =>
      saveSchedule(store.sql, { ...schedule, cron: "0 0 * * *" }, { tick_ms: inAnHour, start_ms: inAnHour }),
    deleted: ({ tenant_id, id }) => deleteSchedule(store.sql, tenant_id, id),
  };

  test.each(Object.entries(changes))("starts no run once it is %s", async (_name, change) => {
    const schedule = await due(0);
    const startTick: StateStore["startTick"] = async (...args) => {
      await change(schedule);
      return state.startTick(...args);
    };
    await newScheduler({ store: { ...state, startTick } }).pass();
    expect(await runs()).toEqual([]);
    expect(await ticks()).toEqual([]);
    expect(await queue.stats(0)).toMatchObject({ reserved: 0 });
  });

  test("waits for the change and sees it, when both come at the same moment", async () => {
    const schedule = await due(0);
    let passing: Promise<unknown> | undefined;
    await store.sql.begin(async (tx) => {
      const startTick: StateStore["startTick"] = async (...args) => {
        await tx`update schedules set version = version + 1, paused = true, next_tick_at = null, try_at = null`;
        return state.startTick(...args);
      };
      passing = newScheduler({ store: { ...state, startTick } }).pass();
      await untilLockWait(store.sql);
    });
    await passing;
    expect(await runs()).toEqual([]);
    expect(await readSchedule(store.sql, acme, schedule.id)).toMatchObject({ paused: true });
  });

  test("starts with what a client has saved meanwhile without other times", async () => {
    const schedule = await due(0);
    const startTick: StateStore["startTick"] = async (...args) => {
      const request = schedule.request.replace('"message":""', '"message":"new"');
      await saveSchedule(store.sql, { ...schedule, request }, { tick_ms: inAnHour, start_ms: inAnHour });
      return state.startTick(...args);
    };
    await newScheduler({ store: { ...state, startTick } }).pass();
    await newScheduler().pass();
    expect(await store.sql`select input from runs`).toMatchObject([
      { input: expect.stringContaining('"message":"new"') },
    ]);
  });
});

// Fails when a save that comes after the delete leaves its ticks to the next schedule with this id.
test("a schedule that is made anew does not show the ticks of the one before it", async () => {
  const before = await due(0);
  const slow: StateStore = {
    ...state,
    async saveFired(fired) {
      await deleteSchedule(store.sql, acme, before.id);
      return state.saveFired(fired);
    },
  };
  await newScheduler({ store: slow }).pass();
  expect(await runs()).toHaveLength(1);
  const tomorrow = Date.now() + 86_400_000;
  await saveSchedule(store.sql, before, { tick_ms: tomorrow, start_ms: tomorrow });
  expect(await ticks()).toEqual([]);
});

// Fails when the late save of a scheduler that was stopped brings back ticks that others have decided: a skipped one may then start.
test("a scheduler that is stopped until its claim has lapsed does not move the schedule back", async () => {
  const { next_tick_at_ms: tick } = await due(0);
  const stopped: StateStore = {
    ...state,
    async saveFired(fired) {
      await tryAgain();
      await newScheduler().pass();
      await store.sql`update schedules set next_tick_at = next_tick_at + interval '5 minutes'`;
      return state.saveFired(fired);
    },
  };
  await newScheduler({ store: stopped }).pass();
  expect(await readSchedule(store.sql, acme, "minutely")).toMatchObject({
    next_tick_at_ms: (tick ?? 0) + 6 * 60_000,
  });
  expect(await runs()).toHaveLength(1);
});

// Fails when a save moves the schedule on without the tick, or when its tick starts a second run.
test("a schedule that was saved as it is while its tick was started starts it once, and goes on", async () => {
  const saved = await due(0, { id: "saved" });
  const slow: StateStore = {
    ...state,
    async saveFired(fired) {
      await saveSchedule(store.sql, saved, {
        tick_ms: Date.now() + 86_400_000,
        start_ms: Date.now() + 86_400_000,
      });
      return state.saveFired(fired);
    },
  };
  await newScheduler({ store: slow }).pass();
  expect(await readSchedule(store.sql, acme, "saved")).toMatchObject({
    next_tick_at_ms: saved.next_tick_at_ms,
  });
  await store.sql`update schedules set try_at = now()`;
  await newScheduler({}).pass();
  const after = await readSchedule(store.sql, acme, "saved");
  expect(after?.next_tick_at_ms).toBeGreaterThan(saved.next_tick_at_ms ?? Infinity);
  expect(await store.sql`select from runs`).toHaveLength(1);
});

describe("a schedule that is saved again", () => {
  const inAnHour = Date.now() + 3_600_000;
  const save = (schedule: Schedule) =>
    saveSchedule(store.sql, schedule, schedule.paused ? null : { tick_ms: inAnHour, start_ms: inAnHour });

  // Fails when a save that repeats the times of a schedule begins with the next tick after it: a tick that waits for its jitter, for room
  // or for the end of an outage would be lost.
  test("with the same times keeps the tick that is due, and the reason for which it was refused", async () => {
    const saved = await due(3_600, { catch_up: 2 });
    expect(await save({ ...saved, jitter_seconds: 1, catch_up: 3 })).toMatchObject({
      next_tick_at_ms: saved.next_tick_at_ms,
    });
    await tryAgain();
    await limit(0);
    await newScheduler().pass();
    const refused = await readSchedule(store.sql, acme, "minutely");
    expect(refused).toMatchObject({ refused: "queue_full" });
    if (refused) expect(await save(refused)).toMatchObject({ refused: "queue_full" });
    await limit(1000);
    await newScheduler().pass();
    expect(await runs()).not.toEqual([]);
  });

  test("with other times, or after a pause, begins with the next tick after now", async () => {
    const saved = await due(3_600, { catch_up: 2 });
    const next = { refused: null, next_tick_at_ms: inAnHour };
    expect(await save({ ...saved, timezone: "Europe/Berlin" })).toMatchObject(next);
    expect(await save({ ...saved, paused: true })).toMatchObject({ next_tick_at_ms: null });
    expect(await save({ ...saved, timezone: "Europe/Berlin" })).toMatchObject(next);
    expect(await runs()).toEqual([]);
  });
});
