import { expect, test } from "vitest";
import { isoTime } from "../../../shared/text/iso-time.ts";

// Fails when the kept text of one millisecond is that of another one with the same place.
test("each millisecond has its own text, in whatever order they come", () => {
  const base = 1_780_499_750_000;
  for (const ms of [base, base + 64, base, base + 1, base + 128, base + 1, base, 0, -1, -64, 64]) {
    expect(isoTime(ms)).toBe(new Date(ms).toISOString());
  }
});

test("what is no time throws, as a Date does", () => {
  expect(() => isoTime(NaN)).toThrow(RangeError);
  expect(() => isoTime(8.64e15 + 1)).toThrow(RangeError);
  expect(() => isoTime(8.64e15 + 1)).toThrow(RangeError);
});
