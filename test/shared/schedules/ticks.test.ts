import { describe, expect, test } from "vitest";
import { DefinitionId, TenantId } from "../../../shared/contracts/ids.ts";
import type { Schedule } from "../../../shared/contracts/schedule.ts";
import { dueTicks, runOfTick, startOf } from "../../../shared/schedules/ticks.ts";

const at = (text: string) => Date.parse(`2026-05-04T${text}Z`);

/** Hourly, with its next tick at 10:00. */
const hourly: Schedule = {
  tenant_id: TenantId.parse("acme"),
  id: DefinitionId.parse("report"),
  orchestration_id: DefinitionId.parse("orch"),
  cron: "0 * * * *",
  timezone: "UTC",
  jitter_seconds: 0,
  overlap: "skip",
  catch_up: 1,
  paused: false,
  request: JSON.stringify({
    message: "hi",
    state: { a: 1 },
    metadata: { m: 1 },
    priority: 3,
    session_id: null,
    webhook_url: null,
  }),
  version: 1,
  next_tick_at_ms: at("10:00"),
  refused: null,
  created_at_ms: 0,
  updated_at_ms: 0,
};

const decisionAt = (changes: Partial<Schedule>, now: string) => {
  const { start, missed, next } = dueTicks({ ...hourly, ...changes }, at(now));
  const clock = (ms: number | null) => (ms === null ? null : new Date(ms).toISOString().slice(11, 16));
  return {
    start: start.map(clock),
    missed: missed.map(({ tick_ms, until_ms, reason }) => [clock(tick_ms), clock(until_ms), reason]),
    next: clock(next),
  };
};

describe("the ticks that are due", () => {
  test.each([
    ["before the tick: none", {}, "09:59:59.999", { start: [], missed: [], next: "10:00" }],
    ["at the tick: that one", {}, "10:00", { start: ["10:00"], missed: [], next: "11:00" }],
    [
      "59 s late: still that one, without any catch-up",
      { catch_up: 0 },
      "10:00:59",
      { start: ["10:00"], missed: [], next: "11:00" },
    ],
    [
      "61 s late without catch-up: it is missed",
      { catch_up: 0 },
      "10:01:01",
      { start: [], missed: [["10:00", null, "outage"]], next: "11:00" },
    ],
    [
      "after an outage: the newest one, the others are missed",
      {},
      "14:30",
      { start: ["14:00"], missed: [["10:00", "13:00", "outage"]], next: "15:00" },
    ],
    [
      "after an outage with a catch-up of 3: the newest three, the oldest first",
      { catch_up: 3 },
      "14:30",
      { start: ["12:00", "13:00", "14:00"], missed: [["10:00", "11:00", "outage"]], next: "15:00" },
    ],
    [
      "an outage that ends at a tick: that one is on time",
      { catch_up: 1 },
      "14:00:01",
      { start: ["13:00", "14:00"], missed: [["10:00", "12:00", "outage"]], next: "15:00" },
    ],
    [
      "refused: it is tried again until the next one is due",
      { refused: "queue_full" },
      "10:59:59",
      { start: ["10:00"], missed: [], next: "11:00" },
    ],
    [
      "refused for its whole period: it is missed, with the reason",
      { refused: "queue_full" },
      "11:00",
      { start: ["11:00"], missed: [["10:00", null, "queue_full"]], next: "12:00" },
    ],
    [
      "refused, then an outage: both are recorded",
      { refused: "queue_full", catch_up: 0 },
      "13:30",
      {
        start: [],
        missed: [
          ["10:00", null, "queue_full"],
          ["11:00", "13:00", "outage"],
        ],
        next: "14:00",
      },
    ],
    ["paused: none", { next_tick_at_ms: null }, "12:00", { start: [], missed: [], next: null }],
  ])("%s", (_name, changes, now, expected) => {
    expect(decisionAt(changes, now)).toEqual(expected);
  });

  test("of a minute's schedule after a year are decisionAt from the newest ones alone", () => {
    const schedule = {
      ...hourly,
      cron: "* * * * *",
      catch_up: 100,
      next_tick_at_ms: at("10:00") - 365 * 86_400_000,
    };
    const { start, missed, next } = dueTicks(schedule, at("10:00:30"));
    expect(start).toHaveLength(101);
    expect(missed).toMatchObject([{ tick_ms: schedule.next_tick_at_ms, until_ms: (start[0] ?? 0) - 60_000 }]);
    expect(next).toBe(at("10:01"));
  });
});

test("a jitter delays each tick by at most its own length, and by another time for each tick", () => {
  const schedule = { ...hourly, jitter_seconds: 600 };
  const delays = Array.from({ length: 24 }, (_, i) => {
    const tick = at("00:00") + i * 3_600_000;
    return startOf(schedule, tick) - tick;
  });
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...delays)).toBeLessThanOrEqual(600_000);
  expect(new Set(delays).size).toBeGreaterThan(20);
  const start = startOf(schedule, at("10:00"));
  expect(dueTicks(schedule, start - 1).start).toEqual([]);
  expect(dueTicks(schedule, start).start).toEqual([at("10:00")]);
});

test("the run of a tick has the same id whenever it is computed, another id for each tenant, schedule and tick, and the time of its tick", async () => {
  const run = await runOfTick(hourly, at("10:00"));
  expect((await runOfTick({ ...hourly }, at("10:00"))).run_id).toBe(run.run_id);
  const others = [
    await runOfTick({ ...hourly, tenant_id: TenantId.parse("globex") }, at("10:00")),
    await runOfTick({ ...hourly, id: "other" }, at("10:00")),
    await runOfTick(hourly, at("11:00")),
  ];
  expect(new Set([run, ...others].map(({ run_id }) => run_id)).size).toBe(4);
  expect(run).toMatchObject({
    triggered_by: "cron",
    priority: 3,
    singleton: { key: "schedule:report", policy: "skip" },
  });
  expect(JSON.parse(run.input)).toEqual({
    message: "hi",
    state: { a: 1, schedule: { id: "report", tick_at: "2026-05-04T10:00:00.000Z" } },
  });
});
