import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Retention } from "../../../worker-node/reconciler/retention.ts";

beforeEach(() => vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => vi.useRealTimers());

const MINUTE_MS = 60_000;

// Fails when the statements of a part that fails each time are repeated every few seconds.
test("retention is repeated at once while rows are left, five minutes after the last of them, and a minute after a failure", async () => {
  const deleteExpired = vi.fn<() => Promise<boolean>>();
  const retention = new Retention({ store: { deleteExpired } });
  /** How often retention deletes in passes at the first and at the last moment of this time. */
  const deletionsIn = async (ms: number): Promise<number> => {
    deleteExpired.mockClear();
    await retention.pass().catch(() => {});
    vi.advanceTimersByTime(ms);
    await retention.pass().catch(() => {});
    return deleteExpired.mock.calls.length;
  };
  deleteExpired.mockRejectedValue(new Error("a row that no statement can delete"));
  expect(await deletionsIn(MINUTE_MS)).toBe(1);
  expect(await deletionsIn(MINUTE_MS - 1)).toBe(0);
  deleteExpired.mockResolvedValue(true);
  expect(await deletionsIn(1)).toBe(1);
  expect(await deletionsIn(1)).toBe(2);
  deleteExpired.mockResolvedValue(false);
  expect(await deletionsIn(5 * MINUTE_MS - 1)).toBe(1);
  expect(await deletionsIn(1)).toBe(1);
});
