import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { offsetAt } from "../../../shared/schedules/zone-time.ts";
import { nextTick, parseCron, previousTick } from "../../../shared/schedules/cron.ts";
import { inputs } from "../../services/inputs.ts";

const ms = (text: string) => Date.parse(text);
const iso = (instant: number | null) => (instant === null ? null : new Date(instant).toISOString());

/** More ticks than any test expects: with a wrong rule a test ends at this number instead of never. */
const MAX_TICKS = 500;

/** The ticks in (from, to]. */
function ticks(cron: string, zone: string, from: string, to: string): string[] {
  const schedule = parseCron(cron, zone);
  const found: string[] = [];
  for (let at = nextTick(schedule, ms(from)); at !== null && at <= ms(to); at = nextTick(schedule, at)) {
    found.push(new Date(at).toISOString().replace(":00.000Z", "Z"));
    if (found.length > MAX_TICKS) throw new Error("the ticks do not end");
  }
  return found;
}

/** With half-hour shifts, offsets of 45 minutes, midnights that are skipped, both hemispheres, and none. */
const ZONES = [
  "America/New_York",
  "Europe/Berlin",
  "Australia/Lord_Howe",
  "America/St_Johns",
  "America/Santiago",
  "Africa/Cairo",
  "Asia/Beirut",
  "Pacific/Chatham",
  "America/Havana",
  "Asia/Kathmandu",
  "Pacific/Apia",
  "UTC",
];

const EXPRESSIONS = [
  "30 2 * * *",
  "0 0 * * *",
  "15 2 * * *",
  "*/15 * * * *",
  "30 */2 * * *",
  "0 0 L * *",
  "30 1 * * SUN#1",
  "0 3 13 * FRI",
  "5,35 0-3 * * *",
  "0 12 29 2 *",
  "45 1 * 3,11 0L",
];

describe("a tick in the hour that is skipped fires once, at the first moment after it", () => {
  test.each([
    [
      "daily, New York",
      "30 2 * * *",
      "America/New_York",
      "2026-03-08T00:00Z",
      "2026-03-09T03:00Z",
      ["2026-03-08T07:00Z"],
    ],
    [
      "daily, Lord Howe's half hour",
      "15 2 * * *",
      "Australia/Lord_Howe",
      "2026-10-03T00:00Z",
      "2026-10-04T00:00Z",
      ["2026-10-03T15:30Z"],
    ],
    [
      "daily, a midnight that is skipped in Santiago",
      "0 0 * * *",
      "America/Santiago",
      "2026-09-05T12:00Z",
      "2026-09-06T12:00Z",
      ["2026-09-06T04:00Z"],
    ],
    [
      "daily, a midnight that is skipped in Cairo",
      "30 0 * * *",
      "Africa/Cairo",
      "2026-04-23T12:00Z",
      "2026-04-24T12:00Z",
      ["2026-04-23T22:00Z"],
    ],
    [
      "every two hours at half past",
      "30 */2 * * *",
      "America/New_York",
      "2026-03-08T05:00Z",
      "2026-03-08T09:00Z",
      ["2026-03-08T05:30Z", "2026-03-08T07:00Z", "2026-03-08T08:30Z"],
    ],
    [
      "several in one gap are one tick",
      "*/15 * * * *",
      "America/New_York",
      "2026-03-08T06:40Z",
      "2026-03-08T07:15Z",
      ["2026-03-08T06:45Z", "2026-03-08T07:00Z", "2026-03-08T07:15Z"],
    ],
    [
      "a whole day that Samoa skipped",
      "0 9 30 12 *",
      "Pacific/Apia",
      "2011-12-01T00:00Z",
      "2012-02-01T00:00Z",
      ["2011-12-30T10:00Z"],
    ],
  ])("%s", (_name, cron, zone, from, to, expected) => {
    expect(ticks(cron, zone, from, to)).toEqual(expected);
  });
});

describe("a tick in the hour that comes twice", () => {
  test.each([
    [
      "fires once when it is daily, at the first passing",
      "30 1 * * *",
      "America/New_York",
      "2026-11-01T00:00Z",
      "2026-11-02T00:00Z",
      ["2026-11-01T05:30Z"],
    ],
    [
      "fires once when it is coarser than daily",
      "15 1 1 11 *",
      "America/New_York",
      "2026-10-01T00:00Z",
      "2026-12-01T00:00Z",
      ["2026-11-01T05:15Z"],
    ],
    [
      "fires at each passing when it is hourly",
      "0 * * * *",
      "America/New_York",
      "2026-11-01T04:30Z",
      "2026-11-01T07:30Z",
      ["2026-11-01T05:00Z", "2026-11-01T06:00Z", "2026-11-01T07:00Z"],
    ],
    [
      "fires at each passing when it is finer, also as the last of the day",
      "0,30 1 1 11 *",
      "America/New_York",
      "2026-10-01T00:00Z",
      "2026-12-01T00:00Z",
      ["2026-11-01T05:00Z", "2026-11-01T05:30Z", "2026-11-01T06:00Z", "2026-11-01T06:30Z"],
    ],
    [
      "fires at each passing of Lord Howe's half hour",
      "*/15 1 * * *",
      "Australia/Lord_Howe",
      "2026-04-04T14:25Z",
      "2026-04-04T15:40Z",
      ["2026-04-04T14:30Z", "2026-04-04T14:45Z", "2026-04-04T15:00Z", "2026-04-04T15:15Z"],
    ],
  ])("%s", (_name, cron, zone, from, to, expected) => {
    expect(ticks(cron, zone, from, to)).toEqual(expected);
  });

  test("a day from 0 to 5 in steps of 15 minutes has 24 ticks: 28 when an hour repeats and 20 when one is skipped", () => {
    const count = (from: string, to: string) => ticks("*/15 0-5 * * *", "America/New_York", from, to).length;
    expect(count("2026-06-01T03:59Z", "2026-06-02T03:00Z")).toBe(24);
    expect(count("2026-11-01T03:59Z", "2026-11-02T03:00Z")).toBe(28);
    expect(count("2026-03-08T04:59Z", "2026-03-09T03:00Z")).toBe(20);
  });
});

test("L is the last day, # the n-th weekday, and of both day fields either one matches", () => {
  const daysOf = (cron: string) =>
    ticks(cron, "UTC", "2026-01-31T12:00Z", "2026-03-01T12:00Z").map((at) => at.slice(5, 10));
  expect(daysOf("0 0 L * *")).toEqual(["02-28"]);
  expect(daysOf("0 0 * * 5#2")).toEqual(["02-13"]);
  expect(daysOf("0 0 10 * 1")).toEqual(["02-02", "02-09", "02-10", "02-16", "02-23"]);
});

// Fails when the rule for the two directions differs: cron-parser's previous ticks are others than its next ones.
test.each([
  ["0 9 */1 * 1", "0 9 * * 1"],
  ["0 9 1 * */1", "0 9 1 * *"],
  ["*/1 */1 */1 */1 */1", "* * * * *"],
])("a step of one names no days: %s fires when %s does", (stepped, starred) => {
  const firstTwoAndLast = (cron: string) => {
    const schedule = parseCron(cron, "UTC");
    const next = nextTick(schedule, ms("2026-01-01T00:00Z")) ?? 0;
    return [iso(next), iso(nextTick(schedule, next)), iso(previousTick(schedule, ms("2026-02-05T00:00Z")))];
  };
  expect(firstTwoAndLast(stepped)).toEqual(firstTwoAndLast(starred));
});

test("previous and next agree in every zone: each tick is the previous one of the next, and none lies between", () => {
  const instant = fc.integer({
    min: ms("2024-01-01T00:00Z") / 60_000,
    max: ms("2028-01-01T00:00Z") / 60_000,
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...ZONES),
      fc.constantFrom(...EXPRESSIONS),
      instant,
      fc.nat(59_999),
      (zone, cron, minute, milliseconds) => {
        const schedule = parseCron(cron, zone);
        const at = minute * 60_000 + milliseconds;
        const next = nextTick(schedule, at);
        if (next === null) return false;
        expect(next).toBeGreaterThan(at);
        expect([cron, zone, iso(previousTick(schedule, next + 1))]).toEqual([cron, zone, iso(next)]);
        const previous = previousTick(schedule, next);
        expect(previous === null || previous <= at).toBe(true);
        if (previous !== null) expect(iso(nextTick(schedule, previous))).toBe(iso(next));
        return true;
      },
    ),
    { numRuns: inputs(200) },
  );
}, 300_000);

// The random instants above seldom fall into the hours of a transition.
test.each(ZONES.slice(0, 9))("previous and next agree tick by tick around the transitions of %s", (zone) => {
  const days = [
    "2026-03-08",
    "2026-03-29",
    "2026-04-04",
    "2026-04-24",
    "2026-09-06",
    "2026-10-03",
    "2026-10-25",
    "2026-10-29",
    "2026-09-26",
    "2026-11-01",
  ].filter(
    (day) => offsetAt(zone, ms(`${day}T00:00Z`) - 12 * 3_600_000) !== offsetAt(zone, ms(`${day}T23:59Z`)),
  );
  expect(days.length).toBeGreaterThan(0);
  for (const day of days) {
    for (const cron of ["*/15 * * * *", "30 2 * * *", "30 */2 * * *", "0 0 * * *"]) {
      const schedule = parseCron(cron, zone);
      const forwards: number[] = [];
      const end = ms(`${day}T00:00Z`) + 30 * 3_600_000;
      let at: number | null = ms(`${day}T00:00Z`) - 14 * 3_600_000;
      for (at = nextTick(schedule, at); at !== null && at < end; at = nextTick(schedule, at)) {
        forwards.push(at);
        if (forwards.length > MAX_TICKS) throw new Error("the ticks do not end");
      }
      const backwards = [];
      for (let back: number | null = end; ; backwards.push(back)) {
        back = previousTick(schedule, back);
        if (back === null || back < (forwards[0] ?? 0)) break;
        if (backwards.length > MAX_TICKS) throw new Error("the ticks do not end");
      }
      expect([cron, day, backwards.toReversed().map(iso)]).toEqual([cron, day, forwards.map(iso)]);
    }
  }
});

test.each([
  ["* * * * * *", "UTC", "must have five fields (minute, hour, day of month, month, day of week), and has 6"],
  [
    "@daily",
    "UTC",
    "must have five fields (minute, hour, day of month, month, day of week): write 0 0 * * * for @daily",
  ],
  ["@Hourly", "UTC", "write 0 * * * * for @Hourly"],
  ["@reboot", "UTC", "must have five fields (minute, hour, day of month, month, day of week), and has 1"],
  ["", "UTC", "must have five fields (minute, hour, day of month, month, day of week), and has 0"],
  ["  ", "UTC", "and has 0"],
  ["* * 0 * *", "UTC", "cannot be read: Invalid value for day: 0"],
  ["* * 32 * *", "UTC", "cannot be read: Invalid value for day: 32"],
  ["* * 1-40 * *", "UTC", "cannot be read: Invalid value for day: 32"],
  ["* * * 0 *", "UTC", "cannot be read: Invalid value for month: 0"],
  ["* * * 13 *", "UTC", "cannot be read: Invalid value for month: 13"],
  ["60 * * * *", "UTC", "cannot be read: Invalid value for minute: 60"],
  ["* * * * 8", "UTC", "cannot be read: Invalid value for dayOfWeek: 8"],
  ["0 25 * * *", "UTC", "cannot be read: Invalid value for hour: 25"],
  ["0 0 30 2 *", "UTC", "names a date that never comes"],
  [`${"0,".repeat(150)}0 0 * * *`, "UTC", "at most 200 characters"],
  ["0 0 * * *", "Mars/Olympus", "is no IANA time zone"],
])("%s in %s is refused, and the error says what is wrong", (cron, zone, sentence) => {
  expect(() => parseCron(cron, zone)).toThrow(sentence);
});
