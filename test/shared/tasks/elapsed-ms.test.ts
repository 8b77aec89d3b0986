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
