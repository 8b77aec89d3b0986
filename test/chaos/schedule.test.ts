import { describe, expect, test } from "vitest";
import { faults } from "./faults.ts";
import { pointNames } from "./points.ts";
import { makeSchedule } from "./schedule.ts";

const TWO_MINUTES_MS = 120_000;

describe("a schedule", () => {
  test("is the same for the same seed, and differs for another seed", () => {
    expect(makeSchedule(1, TWO_MINUTES_MS)).toEqual(makeSchedule(1, TWO_MINUTES_MS));
    expect(makeSchedule(1, TWO_MINUTES_MS)).not.toEqual(makeSchedule(2, TWO_MINUTES_MS));
  });

  test("of two minutes has every point once and every kind of fault, and is quiet at the end", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const items = makeSchedule(seed, TWO_MINUTES_MS);
      const armed = items.flatMap((item) => ("point" in item ? [item.point] : []));
      const drawn = new Set(items.flatMap((item) => ("fault" in item ? [item.fault] : [])));
      expect(armed.toSorted()).toEqual(pointNames.toSorted());
      expect([...drawn].toSorted()).toEqual(Object.keys(faults).toSorted());
      expect(items.at(-1)?.atMs).toBeLessThan(TWO_MINUTES_MS - 25_000);
    }
  });

  // Fails when only the first cycle arms points.
  test("of an hour has every point in every cycle", () => {
    const items = makeSchedule(1, 30 * TWO_MINUTES_MS);
    const times = Map.groupBy(
      items.flatMap((item) => ("point" in item ? [item.point] : [])),
      (point) => point,
    );
    expect(times.size).toBe(pointNames.length);
    for (const armed of times.values()) expect(armed.length).toBe(20);
  });

  test("begins with a calm in which takeovers can be measured: one worker is stopped, one is killed, one loses its replies", () => {
    const early = makeSchedule(7, TWO_MINUTES_MS).filter(({ atMs }) => atMs < 26_000);
    expect(early).toEqual([
      { atMs: 3_000, fault: "freeze" },
      { atMs: 6_000, fault: "kill" },
      { atMs: 23_000, fault: "lost_replies" },
    ]);
  });
});
