import { getEventListeners } from "node:events";
import { afterEach, describe, expect, test, vi } from "vitest";
import { messageOf } from "../../../shared/log.ts";
import { abortable, limited } from "../../../worker-node/execution/stop.ts";

// Fails when the work is not awaited after an abort: an unhandled rejection ends the worker process.
test("work that fails after its signal was aborted is dropped without an unhandled rejection", async () => {
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", listener);
  try {
    const work = Promise.reject(new Error("too late"));
    await expect(abortable(AbortSignal.abort(new Error("stopped")), work)).rejects.toThrow("stopped");
    // Node reports unhandled rejections after the microtasks of a turn.
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", listener);
  }
});

describe("work under a limit", () => {
  afterEach(() => void vi.useRealTimers());

  const never = (): Promise<never> => new Promise(() => {});
  const late = (): Error => new Error("late");

  // Fails when work goes on after its limit, or when its signal is not aborted.
  test("is left behind after its time, and its signal has the reason", async () => {
    vi.useFakeTimers();
    const { signal } = new AbortController();
    const seen: AbortSignal[] = [];
    const work = limited({ signal, ms: 1_000, stop: late }, (limit) => {
      seen.push(limit());
      return never();
    });
    const outcome = expect(work).rejects.toThrow("late");
    await vi.advanceTimersByTimeAsync(999);
    expect(seen[0]?.aborted).toBe(false);
    await vi.advanceTimersByTimeAsync(1);
    await outcome;
    expect(seen[0]?.reason).toMatchObject({ message: "late" });
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  // Fails when work that reads its signal only after the limit may go on.
  test("is left when the outer signal aborts, and a signal that it reads later is aborted", async () => {
    vi.useFakeTimers();
    const around = new AbortController();
    const asked: (() => AbortSignal)[] = [];
    const work = limited({ signal: around.signal, ms: 1_000, stop: late }, (limit) => {
      asked.push(limit);
      return never();
    });
    around.abort(new Error("cancelled"));
    await expect(work).rejects.toThrow("cancelled");
    expect(asked[0]?.().reason).toMatchObject({ message: "cancelled" });
    expect(vi.getTimerCount()).toBe(0);
  });

  test("is not begun after an abort", async () => {
    const work = vi.fn(never);
    const signal = AbortSignal.abort(new Error("cancelled"));
    await expect(limited({ signal, ms: 1_000, stop: late }, work)).rejects.toThrow("cancelled");
    expect(work).not.toHaveBeenCalled();
  });

  // Fails when each step leaves a timer or a listener behind for as long as its run lasts.
  test.each([
    ["a result", async () => "done", "done"],
    ["a failure", () => Promise.reject(new Error("failed")), "failed"],
  ])("leaves no timer and no listener after %s", async (_, end, expected) => {
    vi.useFakeTimers();
    const { signal } = new AbortController();
    const work = limited<string>({ signal, ms: 1_000, stop: late }, end);
    expect(await work.catch(messageOf)).toBe(expected);
    expect(vi.getTimerCount()).toBe(0);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});
