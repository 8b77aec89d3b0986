import { z } from "zod";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { explain } from "../../../edge/runs/explain.ts";
import { newIncarnation, RunId } from "../../../shared/contracts/ids.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { joinLines, writeLines } from "../../../shared/events/lines.ts";
import { keys } from "../../../shared/keys.ts";
import type { RunFacts } from "../../../shared/store/runs/run-facts.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { SILENT_AFTER_MS, TAKEOVER_MS } from "../../../shared/timing.ts";
import { onlineBeat } from "../../shared/store/store-fixture.ts";
import { bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker, failRun } from "../fake-workers.ts";
import { completeIndex } from "../test-stores.ts";

const NOW = Date.parse("2026-06-04T09:15:30.000Z");
const at = (seconds: number) => new Date(NOW + seconds * 1000).toISOString();

/** The last beat of an owner with the product's timing. */
const beaten = (beat_at_ms: number | null) => ({
  beat_at_ms,
  silent_at_ms: beat_at_ms === null ? null : beat_at_ms + SILENT_AFTER_MS,
});

/** A ready run with room in its tenant's limit and workers of its lane. */
const ready: RunFacts = {
  now_ms: NOW,
  tenant_id: "acme",
  status: "queued",
  lane: "default",
  attempt: 0,
  owner: null,
  cancel_requested: false,
  error: null,
  queued_at_ms: NOW - 30_000,
  ended_at_ms: null,
  wake_at_ms: NOW - 30_000,
  deadline_at_ms: null,
  beat_at_ms: null,
  silent_at_ms: null,
  last_at_ms: null,
  park: null,
  held_retry: null,
  key_holder: null,
  waits: [],
  turn_before: null,
  tenant_disabled: false,
  max_concurrent_runs: 5,
  tenant_running: 0,
  ahead: 0,
  workers_online: 2,
  workers_of_lane: 2,
  slots: 20,
  slots_taken: 3,
  lane_rate: null,
};
const running: RunFacts = {
  ...ready,
  status: "running",
  attempt: 1,
  owner: "w-1#0a1b2c3d",
  deadline_at_ms: NOW + 60_000,
  ...beaten(NOW - 1_000),
  last_at_ms: NOW - 8_000,
};
const park = JSON.stringify({
  step: "search",
  visit: 1,
  reason: "retry",
  tries: 2,
  error: { code: "tool_unavailable", message: "the tool answered HTTP 503" },
  first_failed_at: at(-60),
});

const wait = (changes: Partial<RunFacts["waits"][number]> = {}): RunFacts["waits"][number] => ({
  kind: "human",
  wait_id: "ask:1",
  step_id: "ask",
  child_run_id: null,
  opened_at_ms: NOW - 5_000,
  deadline_at_ms: null,
  ...changes,
});

describe("the diagnosis of a run", () => {
  const why = (facts: Partial<RunFacts>, base = ready) => explain({ ...base, ...facts }, "up", true);

  test("is `retry_wait` until the next try, while the worker keeps the run in its slot", () => {
    const held_retry = JSON.stringify({
      type: "step_retry",
      orch_step_id: "search",
      attempt: 1,
      code: "tool_unavailable",
      error: "the tool answered HTTP 503",
      retry_in_seconds: 4,
    });
    expect(why({ held_retry, last_at_ms: NOW - 1_000 }, running)).toMatchObject({
      state: "running",
      reason: "retry_wait",
      blocked_by: [{ kind: "time", until: at(3) }],
      next_wake_at: at(3),
      sentence: expect.stringContaining(
        "Step search failed (try 1, tool_unavailable: the tool answered HTTP 503)",
      ),
    });
    // The time has come: the step is executed again.
    expect(why({ held_retry, last_at_ms: NOW - 4_000 }, running)).toMatchObject({ reason: "running" });
  });

  test("reports that the run is the next to be claimed", () => {
    expect(why({})).toEqual({
      state: "queued",
      reason: "starting",
      position: 1,
      blocked_by: [],
      since: at(-30),
      next_wake_at: at(-30),
      sentence: "The run is next, and a worker is about to claim it.",
    });
  });

  test("names the tenant's limit, with its numbers", () => {
    expect(why({ tenant_running: 5, ahead: 12 })).toMatchObject({
      reason: "tenant_limit",
      position: 13,
      blocked_by: [
        { kind: "tenant_limit", running: 5, limit: 5 },
        { kind: "runs_ahead", count: 12 },
      ],
      sentence:
        "Tenant acme has 5 runs running, and its limit is 5; 12 of its runs are ahead of this run. It starts when they have ended.",
    });
    expect(explain({ ...ready, tenant_running: 5 }, "up", false).reason).toBe("starting");
  });

  test("reports that no live worker serves the lane, and how to start one", () => {
    const none = { lane: "bulk", workers_of_lane: 0, slots: 0, slots_taken: 0 } as const;
    expect(why({ ...none, ahead: 2 })).toMatchObject({
      reason: "no_worker",
      blocked_by: [
        { kind: "workers", lane: "bulk", online: 0, slots: 0, taken: 0 },
        { kind: "runs_ahead", count: 2 },
      ],
      sentence:
        "No live worker serves lane bulk; the 2 live workers serve other lanes. Start a worker with bulk in its WORKER_LANES, or see /api/v2/workers.",
    });
    expect(why({ ...none, workers_online: 0 }).sentence).toBe(
      "No worker is live, for any lane: start one, or see /api/v2/workers.",
    );
  });

  test("names a disabled tenant, whose limit is not the cause, also where tenants are not isolated", () => {
    const disabled = { tenant_disabled: true, max_concurrent_runs: 0, tenant_running: 2 };
    for (const isolation of [true, false]) {
      expect(explain({ ...ready, ...disabled }, "up", isolation)).toMatchObject({
        reason: "tenant_disabled",
        sentence: "Tenant acme is disabled: its queued runs start when it is enabled again.",
      });
    }
    expect(why({ max_concurrent_runs: 0 })).toMatchObject({
      reason: "tenant_disabled",
      sentence: "Tenant acme may not run anything: its max_concurrent_runs is 0.",
    });
    expect(explain({ ...ready, max_concurrent_runs: 0 }, "up", false).reason).toBe("starting");
  });

  test("names taken slots, and runs ahead", () => {
    expect(why({ slots_taken: 20 }).reason).toBe("workers_busy");
    expect(why({ ahead: 2 })).toMatchObject({ reason: "behind_others", position: 3 });
  });

  // Fails when the answer names a start rate that delays no run, or does not name the start rate that delays this run.
  test("names the start rate of its lane when free workers do not claim the run because of it", () => {
    const dueMs = ready.wake_at_ms ?? ready.now_ms;
    expect(why({ lane_rate: 0.5, now_ms: dueMs + 3_000 })).toMatchObject({
      reason: "lane_rate",
      blocked_by: [{ kind: "lane_rate", lane: ready.lane, starts_per_second: 0.5 }],
      sentence: expect.stringContaining("starts at most 0.5 runs a second"),
    });
    expect(why({ lane_rate: 0.5, now_ms: dueMs, ahead: 2 })).toMatchObject({
      reason: "lane_rate",
      blocked_by: [{ kind: "lane_rate" }, { kind: "runs_ahead", count: 2 }],
    });
    expect(why({ lane_rate: 0.5, now_ms: dueMs + 2_000 }).reason).toBe("starting");
    expect(why({ lane_rate: 0.5, slots_taken: 20, ahead: 2 }).reason).toBe("workers_busy");
  });

  test("names a queue that is unreachable or being rebuilt", () => {
    expect(explain(ready, "away", true)).toMatchObject({
      reason: "queue_away",
      blocked_by: [{ kind: "queue", state: "away" }],
    });
    expect(explain(ready, "rebuilding", true).sentence).toContain("rebuilt");
  });

  test("names the turn that a chat turn waits for", () => {
    const turn_before = RunId.parse("run_2483e1773407_1780499750067");
    expect(why({ wake_at_ms: NOW + 86_400_000, turn_before })).toMatchObject({
      reason: "earlier_turn",
      blocked_by: [{ kind: "turn", turn_id: turn_before }],
    });
  });

  test("gives the time of a retry and of a delayed start", () => {
    expect(why({ wake_at_ms: NOW + 40_000, attempt: 1, park, last_at_ms: NOW - 2_000 })).toEqual({
      state: "queued",
      reason: "retry_wait",
      position: null,
      blocked_by: [{ kind: "time", until: at(40) }],
      since: at(-2),
      next_wake_at: at(40),
      sentence: `Step search failed (try 2, tool_unavailable: the tool answered HTTP 503) and is tried again at ${at(40)}.`,
    });
    expect(why({ wake_at_ms: NOW + 40_000 })).toMatchObject({ reason: "delayed", next_wake_at: at(40) });
  });

  test("distinguishes a live worker from a worker that is silent, stuck, unknown or cancelling", () => {
    expect(why({}, running)).toMatchObject({
      reason: "running",
      next_wake_at: null,
      position: null,
      since: at(-8),
    });
    expect(why(beaten(NOW - 6_000), running)).toMatchObject({
      reason: "worker_silent",
      blocked_by: [{ kind: "worker", worker_id: "w-1", last_heard_at: at(-6) }],
      sentence: `Its worker w-1 is silent since ${at(-6)}; another worker takes the run over at about ${at(-6 + TAKEOVER_MS / 1_000)}.`,
    });
    expect(why(beaten(null), running).reason).toBe("worker_silent");
    expect(why({ deadline_at_ms: NOW - 1 }, running).reason).toBe("worker_overdue");
    expect(why({ cancel_requested: true }, running).reason).toBe("cancelling");
  });

  // Fails when a takeover is announced without a live worker of the lane, or for a time that has passed.
  test("announces a takeover only when a worker can make it, and only for a time to come", () => {
    const silent = beaten(NOW - 90_000);
    const none = { workers_of_lane: 0, slots: 0, slots_taken: 0 };
    expect(why({ ...silent, ...none, workers_online: 0 }, running)).toMatchObject({
      reason: "no_worker",
      since: at(-90),
      blocked_by: [
        { kind: "worker", worker_id: "w-1", last_heard_at: at(-90) },
        { kind: "workers", lane: "default", online: 0, slots: 0, taken: 0 },
      ],
      sentence:
        `Its worker w-1 is silent since ${at(-90)}. No worker is live, for any lane: start one, ` +
        "or see /api/v2/workers.",
    });
    expect(why({ ...beaten(null), ...none }, running)).toMatchObject({
      reason: "no_worker",
      sentence: expect.stringContaining(
        "w-1 is no longer known. No live worker serves lane default; the 2 live workers",
      ),
    });
    expect(why(silent, running)).toMatchObject({
      reason: "worker_silent",
      sentence: `Its worker w-1 is silent since ${at(-90)}; another worker is about to take the run over.`,
    });
    expect(why({ deadline_at_ms: NOW - 10_000 }, running).sentence).toContain(
      `is reclaimed at about ${at(25)}.`,
    );
    expect(why({ deadline_at_ms: NOW - 90_000 }, running).sentence).toContain(
      "it is about to be reclaimed for another worker.",
    );
    const late = why({ status: "paused", wake_at_ms: NOW - 1_000 });
    expect(late.sentence).toBe(
      "The run waits for its time; the wait is over, and a worker is about to claim it.",
    );
  });

  test("names each question of a run that waits in several branches", () => {
    const waits = [wait({ wait_id: "fan[0].ask:1" }), wait({ wait_id: "fan[1].ask#2[0].ask:1:r1" })];
    const { sentence, blocked_by } = why({ status: "paused", waits });
    expect(sentence).toContain("a person to answer (steps fan[0].ask, fan[1].ask#2[0].ask)");
    expect(blocked_by.map((blocker) => blocker.kind === "answer" && blocker.path)).toEqual([
      "fan[0].ask",
      "fan[1].ask#2[0].ask",
    ]);
  });

  // Fails when a timer counts as an answer, or a run that also waits for the next try of a step is said to start later.
  test("names the time of a timer beside what the other branches wait for", () => {
    const timer = wait({
      kind: "timer",
      wait_id: "fan[1].nap:1",
      step_id: "nap",
      deadline_at_ms: NOW + 60_000,
    });
    for (const status of ["paused", "queued"] as const) {
      const { reason, sentence, blocked_by } = why({
        status,
        waits: [wait(), timer],
        attempt: 1,
        wake_at_ms: NOW + 30_000,
      });
      expect(reason).toBe("waiting");
      expect(sentence).toMatch(
        /^The run waits for a person to answer \(step ask\) and its time \(step fan\[1\]\.nap\)/,
      );
      expect(blocked_by[1]).toEqual({ kind: "time", until: at(60), path: "fan[1].nap" });
    }
    // An escalation wakes the run before its question expires.
    const openQuestion = [wait({ deadline_at_ms: NOW + 60_000 })];
    expect(why({ status: "paused", waits: openQuestion, wake_at_ms: NOW - 1_000 }).sentence).toContain(
      `, until ${at(60)} at the latest.`,
    );
    expect(why({ attempt: 1, park, waits: [timer], wake_at_ms: NOW + 30_000 })).toMatchObject({
      reason: "retry_wait",
    });
  });

  test("names the run that a run waits for, and the room that it waits for to start one", () => {
    const child = wait({ kind: "child", wait_id: "sub:1", step_id: "sub", child_run_id: "run_2" });
    const waiting = why({ status: "paused", waits: [child], wake_at_ms: NOW + 86_000_000 });
    expect(waiting.sentence).toBe(`The run waits for a run that it has started (step sub) since ${at(-5)}.`);
    expect(waiting.blocked_by).toEqual([
      { kind: "answer", of: "child", wait_id: "sub:1", path: "sub", run_id: "run_2" },
    ]);
    const timer = wait({ kind: "timer", wait_id: "nap:1", step_id: "nap", deadline_at_ms: NOW + 60_000 });
    const all = why({ status: "paused", waits: [wait(), timer, child], wake_at_ms: NOW + 60_000 });
    expect(all.sentence).toBe(
      `The run waits for a person to answer (step ask) and its time (step nap) and a run that it has started (step sub) since ${at(-5)}, until ${at(60)} at the latest. POST …/resume answers.`,
    );
    expect(all.blocked_by.map(({ kind }) => kind)).toEqual(["answer", "time", "answer"]);
    const room = {
      step: "sub",
      visit: 1,
      reason: "room",
      orchestration_id: "other",
      why: "the queue is full",
    };
    const full = why({ status: "paused", waits: [], park: JSON.stringify(room), wake_at_ms: NOW + 5_000 });
    expect(full).toMatchObject({
      reason: "waiting",
      sentence: `The run waits to start a run of other (step sub): the queue is full. It tries again at ${at(5)}.`,
      blocked_by: [{ kind: "queue_room", orchestration_id: "other", path: "sub" }],
    });
  });

  test("names the answer that a paused run waits for, and the error that ended a run", () => {
    expect(why({ status: "paused", waits: [wait()], wake_at_ms: NOW + 60_000 })).toMatchObject({
      reason: "waiting",
      blocked_by: [{ kind: "answer", of: "human" }],
      next_wake_at: at(60),
    });
    const error = { code: "boom", message: "it broke", step_id: null };
    const end = why({ status: "failed", error, wake_at_ms: null, ended_at_ms: NOW });
    expect(end).toMatchObject({ reason: "ended", since: at(0), next_wake_at: null });
    expect(end.sentence).toBe("The run has failed with boom: it broke.");
  });
});

describe("GET …/why on real stores", () => {
  let app: TestApp;
  beforeAll(async () => {
    app = await startApp();
  });
  afterAll(() => app.stop());
  const why = async (run: string) => bodyOf(await app.call("GET", runPath(run, "why")));

  test("diagnoses a run at each stage from the queue to its end", async () => {
    const { sql } = app.stores;
    const tenant_id = "watched";
    await app.call("POST", "/scale/tenants", { body: { tenant_id, max_concurrent_runs: 1 } });
    const [first, second, third] = [
      await startRun(app, { body: { tenant_id } }),
      await startRun(app, { body: { tenant_id } }),
      await startRun(app, { body: { tenant_id, priority: 5 } }),
    ];
    await app.settled();
    expect(await why(first)).toMatchObject({ reason: "no_worker", position: 2 });
    const worker = await FakeWorker.claim(sql, first);
    expect(await why(first)).toMatchObject({ state: "running", reason: "running" });
    // The third run has a higher priority, so it is ahead of the second.
    expect(await why(second)).toMatchObject({
      reason: "tenant_limit",
      position: 2,
      blocked_by: [
        { kind: "tenant_limit", running: 1, limit: 1 },
        { kind: "runs_ahead", count: 1 },
      ],
    });
    expect(await why(third)).toMatchObject({ reason: "tenant_limit", position: 1 });
    await worker.park("two", 90_000);
    expect(await why(first)).toMatchObject({ state: "queued", reason: "retry_wait", position: null });
    await sql`update workers set beat_at = now() - interval '2 seconds', silent_after = '1 second'`;
    expect(await why(third)).toMatchObject({ reason: "no_worker" });
    const other = await failRun(sql, await startRun(app));
    expect(await why(other.run)).toMatchObject({ state: "failed", reason: "ended" });
  });

  // Fails when a coded line (protocol 5.37) that has the name of this event in a value is read as JSON.
  test("takes only the event of a retry for a retry", async () => {
    const run = await startRun(app, { body: { tenant_id: "noted" } });
    await app.settled();
    const worker = await FakeWorker.claim(app.stores.sql, run);
    const names = { orch_step_id: "a", step_name: "A" };
    const note = (event: RunEvent) => {
      const events = joinLines(writeLines([event], new Date(), "c"), "coded");
      return worker.write({ kind: "note", step_path: null, output: null, events });
    };
    await note({ type: "tool_execution", ...names, tool_name: "t", args: { of: "step_retry" } });
    expect(await why(run)).toMatchObject({ reason: "running" });
    const retry = { code: "busy", error: "it was busy", attempt: 1, retry_in_seconds: 60 };
    await note({ type: "step_retry", ...names, ...retry });
    expect(await why(run)).toMatchObject({ reason: "retry_wait" });
  });

  // Fails when workers of other lanes, silent workers or draining workers count as workers of the lane.
  test("reports no worker until a live one serves the run's lane", async () => {
    const { sql } = app.stores;
    await sql`delete from workers`;
    const run = await startRun(app);
    await app.settled();
    await sql`update runs set lane = 'bulk' where run_id = ${run}`;
    const diagnosis = async () => {
      const { reason, sentence, blocked_by } = await why(run);
      return { reason, sentence, blocked_by };
    };
    const ofLane = onlineBeat(newIncarnation("w"));
    const ofOtherLanes = { ...onlineBeat(newIncarnation("w")), lanes: Lane.exclude(["bulk"]).options };
    await beat(sql, ofOtherLanes);
    expect(await diagnosis()).toMatchObject({
      reason: "no_worker",
      sentence: expect.stringContaining(
        "No live worker serves lane bulk; the one live worker serves other lanes.",
      ),
      blocked_by: [{ kind: "workers", lane: "bulk", online: 0, slots: 0, taken: 0 }],
    });
    await beat(sql, { ...ofLane, status: "draining" });
    expect(await diagnosis()).toMatchObject({ reason: "no_worker" });
    await beat(sql, ofLane);
    expect(await diagnosis()).toMatchObject({ reason: "starting" });
    await sql`update workers set beat_at = now() - interval '13 seconds' where incarnation = ${ofLane.incarnation}`;
    expect(await diagnosis()).toMatchObject({ reason: "no_worker" });
    const rate = (starts_per_second: number | null) =>
      app.call("PATCH", "/scale/queue/bulk", { body: { starts_per_second } });
    expect((await rate(2)).status).toBe(200);
    await sql`update runs set wake_at = now() - interval '4 seconds' where status = 'queued'`;
    expect(await diagnosis()).toMatchObject({ reason: "no_worker" });
    await beat(sql, ofLane);
    expect(await diagnosis()).toMatchObject({
      reason: "lane_rate",
      blocked_by: [{ kind: "lane_rate", lane: "bulk", starts_per_second: 2 }],
    });
    await rate(null);
    await beat(sql, { ...ofLane, active: ofLane.slots });
    expect(await diagnosis()).toMatchObject({
      reason: "workers_busy",
      sentence: expect.stringContaining("All 10 slots of the 1 live workers for lane bulk"),
    });
  });

  test("reports a cold queue, a silent worker and an unreachable queue", async () => {
    const { sql, redis, queue, service } = app.stores;
    const worker = await FakeWorker.claim(sql, await startRun(app));
    const waiting = await startRun(app);
    await app.settled();
    await redis.del(`{${keys.ready(0)}}:index`);
    expect(await why(waiting)).toMatchObject({ reason: "queue_away", blocked_by: [{ state: "rebuilding" }] });
    await completeIndex(queue);
    await sql`update workers set beat_at = now() - interval '2 seconds', silent_after = '1 second'`;
    expect(await why(worker.run)).toMatchObject({
      reason: "no_worker",
      blocked_by: [{ worker_id: "w" }, { kind: "workers", online: 0 }],
    });
    await beat(sql, onlineBeat(newIncarnation("w")));
    expect(await why(worker.run)).toMatchObject({
      reason: "worker_silent",
      blocked_by: [{ worker_id: "w" }],
    });
    await service.stop();
    expect(await why(waiting)).toMatchObject({ reason: "queue_away", blocked_by: [{ state: "away" }] });
  });

  test("is 404 for a run of another tenant, and for a run that does not exist", async () => {
    const { sql } = app.stores;
    const [row] = await sql<
      { run_id: string }[]
    >`select run_id from runs where tenant_id = 'watched' limit 1`;
    const key = await app.stores.key("stranger");
    expect((await app.call("GET", runPath(row?.run_id ?? "", "why"), { key })).status).toBe(404);
    expect((await app.call("GET", runPath("nonsense", "why"))).status).toBe(404);
  });
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** Lets a second of the edge's clock pass: within it all requests share one read of the health. */
function passSecond(): void {
  const nowMs = Date.now() + 1_000;
  vi.restoreAllMocks();
  const aheadMs = nowMs - Date.now();
  const { now } = Date;
  vi.spyOn(Date, "now").mockImplementation(() => now() + aheadMs);
}

test("/health counts the work that does not progress, without a key", async () => {
  const app = await startApp();
  try {
    const { sql } = app.stores;
    const stuck = async () => {
      passSecond();
      return z.looseObject({}).parse((await bodyOf(await app.call("GET", "/health", { key: null }))).stuck);
    };
    expect(await stuck()).toEqual({
      overdue: 0,
      owner_silent: 0,
      unclaimed: 0,
      no_worker: [],
      undelivered: 0,
    });
    const [overdue, silent] = [
      await FakeWorker.claim(sql, await startRun(app)),
      await FakeWorker.claim(sql, await startRun(app)),
    ];
    const unclaimed = await startRun(app);
    await sql`update runs set deadline_at = now() - interval '61 seconds' where run_id = ${overdue.run}`;
    await sql`update workers set beat_at = now() - interval '61 seconds' where incarnation = ${silent.owner}`;
    await sql`update runs set wake_at = now() - interval '61 seconds' where run_id = ${unclaimed}`;
    expect(await stuck()).toEqual({
      overdue: 1,
      owner_silent: 1,
      unclaimed: 1,
      no_worker: [],
      undelivered: 0,
    });
    // Fails when silent or draining workers serve a lane, or runs that are not due count.
    const [later, mail] = [await startRun(app), await startRun(app)];
    await sql`update runs set wake_at = now() + interval '1 hour' where run_id = ${later}`;
    await sql`update runs set lane = 'mail' where run_id in (${mail}, ${later})`;
    await sql`update workers set lanes = '{default,bulk}'`;
    expect((await stuck()).no_worker).toEqual([{ lane: "mail", runs: 1 }]);
    await sql`update workers set status = 'draining'`;
    expect((await stuck()).no_worker).toEqual([
      { lane: "default", runs: 1 },
      { lane: "mail", runs: 1 },
    ]);
    // Fails when sent deliveries count, or deliveries that have been due for less than a minute.
    await sql`
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, status, tokens, cost_micro_usd, next_at,
        done_at, outcome)
      select 'whd_' || seq, 'run_1', seq, 'acme', 'orch', 'run.failed', 'https://example.com/', 'failed', 0, 0, next_at, done_at,
        case when done_at is not null then 'delivered' end
      from (values (1, now() - interval '61 seconds', null), (2, now() - interval '50 seconds', null), (3, null, now()))
        as v(seq, next_at, done_at)`;
    expect((await stuck()).undelivered).toBe(1);
  } finally {
    await app.stop();
  }
});

// Fails when `status` depends on the stores only, a backlog degrades it, or `/readyz` depends on more than the stores.
test("/health is degraded while work is stuck; /readyz depends on the stores only", async () => {
  const app = await startApp();
  try {
    const { sql } = app.stores;
    const statusOf = async (path: string) => {
      passSecond();
      await sql`update workers set beat_at = now()`; // The test takes longer than a beat counts.
      const answer = await app.call("GET", path, { key: null });
      return [answer.status, (await bodyOf(answer)).status];
    };
    const worker = await FakeWorker.claim(sql, await startRun(app));
    const waiting = await startRun(app);
    await sql`update runs set wake_at = now() - interval '61 seconds' where run_id = ${waiting}`;
    expect(await statusOf("/health")).toEqual([200, "ok"]);
    const causes = {
      overdue: [
        sql`update runs set deadline_at = now() - interval '61 seconds' where run_id = ${worker.run}`,
        sql`update runs set deadline_at = now() + interval '1 hour' where run_id = ${worker.run}`,
      ],
      owner_silent: [
        sql`update runs set owner = 'w#00000000' where run_id = ${worker.run}`,
        sql`update runs set owner = ${worker.owner} where run_id = ${worker.run}`,
      ],
      no_worker: [sql`update workers set lanes = '{mail}'`, sql`update workers set lanes = '{default}'`],
      undelivered: [
        sql`
          insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, status, tokens,
            cost_micro_usd, next_at)
          values ('whd_1', 'run_1', 1, 'acme', 'orch', 'run.failed', 'https://example.com/', 'failed', 0, 0,
            now() - interval '61 seconds')`,
        sql`delete from webhook_deliveries`,
      ],
    };
    for (const [cause, [begin, end]] of Object.entries(causes)) {
      await begin;
      expect([cause, await statusOf("/health")]).toEqual([cause, [200, "degraded"]]);
      expect([cause, await statusOf("/readyz")]).toEqual([cause, [200, "ok"]]);
      await end;
      expect([cause, await statusOf("/health")]).toEqual([cause, [200, "ok"]]);
    }
  } finally {
    await app.stop();
  }
});
