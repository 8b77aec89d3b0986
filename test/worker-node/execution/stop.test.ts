import { expect, test } from "vitest";
import { within } from "../../../worker-node/execution/stop.ts";

// Fails when the work is not awaited after an abort: an unhandled rejection ends the worker process.
test("work that fails after its signal was aborted is dropped without an unhandled rejection", async () => {
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", listener);
  try {
    const work = Promise.reject(new Error("too late"));
    await expect(within(AbortSignal.abort(new Error("stopped")), work)).rejects.toThrow("stopped");
    // Node reports unhandled rejections after the microtasks of a turn.
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", listener);
  }
});
