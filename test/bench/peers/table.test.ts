import { expect, test } from "vitest";
import { noiseText, tableOf } from "./table.ts";
import type { Figures } from "./workloads.ts";

/** A round in which every figure has this value. */
function round(value: number, other: Partial<Figures> = {}): Figures {
  return {
    submitPerSecond: value,
    submitP99Ms: value,
    drainPerSecond: value,
    claimP50Ms: value,
    claimP99Ms: value,
    stepsPerSecond: value,
    aloneP50Ms: value,
    aloneP99Ms: value,
    ...other,
  };
}

test("a cell has the median of the rounds, and the lowest and the highest", () => {
  const table = tableOf([{ title: "ours", rounds: [round(1_856.4), round(900), round(2_000)] }]);
  expect(table.split("\n").slice(0, 3)).toEqual([
    "|  | ours |",
    "| --- | --: |",
    "| submit → acknowledged, c=64, per second | 1,856 (900–2,000) |",
  ]);
});

test("every figure has a row, and every participant a column", () => {
  const rows = tableOf([
    { title: "ours", rounds: [round(1)] },
    { title: "BullMQ 6.7.0", rounds: [round(2)] },
  ]).split("\n");
  expect(rows).toHaveLength(2 + 8);
  expect(rows.at(-1)).toBe("| one 5-step run alone, p99 ms | 1 | 2 |");
});

test("small figures have one decimal", () => {
  expect(tableOf([{ title: "ours", rounds: [round(12.94)] }])).toContain("| 12.9 |");
});

test("a participant that did not get through has no figures instead of zeros", () => {
  expect(tableOf([{ title: "Restate", rounds: [] }])).toContain("| – |");
  expect(tableOf([{ title: "Restate", rounds: [round(NaN), round(4)] }])).toContain("| 4 |");
});

test("the noise is the spread between the floor's rounds, and names the figure that spreads most", () => {
  const rounds = [round(100), round(110), round(100, { claimP99Ms: 200 })];
  expect(noiseText(rounds)).toBe(
    "The machine's noise: between 3 rounds a figure of the floor spreads by 10 % of its median, " +
      "at most 91 % (submit → claimed, idle, p99 ms)",
  );
});

test("one round says nothing about the noise", () => {
  expect(noiseText([round(1)])).toBe("The machine's noise: unknown after one round");
});
