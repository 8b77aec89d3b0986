import { expect, onTestFinished, test, vi } from "vitest";
import { elapsedMs } from "../../../shared/tasks/elapsed-ms.ts";

test("the clock of durations goes on where it was when the time of day is set back", () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const beganMs = elapsedMs();
  vi.setSystemTime(Date.now() + 1_000);
  expect(elapsedMs() - beganMs).toBe(1_000);
  vi.setSystemTime(Date.now() - 3_600_000);
  expect(elapsedMs() - beganMs).toBe(1_000);
  vi.setSystemTime(Date.now() + 500);
  expect(elapsedMs() - beganMs).toBe(1_500);
});

test("the clock of durations is as fast as the time of day where two contexts of an isolate read it in turn, and one is behind", () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const beganMs = elapsedMs();
  const startMs = Date.now();
  const seen: number[] = [];
  for (let ms = 100; ms <= 1_000; ms += 100) {
    vi.setSystemTime(startMs + ms);
    seen.push(elapsedMs() - beganMs);
    vi.setSystemTime(startMs + ms - 80);
    seen.push(elapsedMs() - beganMs);
  }
  expect(seen.at(-1)).toBe(1_000);
  expect(seen).toEqual(seen.toSorted((a, b) => a - b));
});
