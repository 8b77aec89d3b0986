import { describe, expect, test } from "vitest";
import { TrackLimiter } from "../../../worker-node/execution/track-limiter.ts";

const settled = () => new Promise(setImmediate);

/** Requests permits for tracks, each named `tenant run`, and records the order in which they began. */
function tracksWith(permits: number) {
  const limiter = new TrackLimiter(permits);
  const began: string[] = [];
  const ends: (() => void)[] = [];
  const take = (name: string, signal = new AbortController().signal) =>
    limiter.take(name.split(" ")[1] ?? "", name.split(" ")[0] ?? "", signal).then((end) => {
      began.push(name);
      ends.push(end);
    });
  return { began, ends, take };
}

describe("the tracks of a worker", () => {
  // Fails when a run with no moving track waits for the branches of others.
  test("move at once: one of each run without a permit, and further ones while there are permits", async () => {
    const { began, ends, take } = tracksWith(2);
    for (const name of ["t r1", "t r1", "t r1", "t r1", "u r2"]) void take(name);
    await settled();
    expect(began).toEqual(["t r1", "t r1", "t r1", "u r2"]);
    ends[0]?.();
    await settled();
    expect(began).toHaveLength(5);
  });

  // Fails when permits are given in the order of the requests: one tenant's thousand iterations would be before all others.
  test("of tenants that wait get free permits one after the other", async () => {
    const { began, ends, take } = tracksWith(1);
    const [own, otherOwn, shared] = ["t r1", "u r2", "t r1"];
    for (const name of [own, otherOwn, shared, "t r1", "t r1", "t r1", "u r2", "u r2"]) void take(name);
    await settled();
    for (let begunCount = 3; begunCount < 7; begunCount++) {
      ends.pop()?.();
      await settled();
    }
    expect(began.slice(3)).toEqual(["t r1", "u r2", "t r1", "u r2"]);
  });

  test("that are stopped while they wait keep no permit", async () => {
    const { began, ends, take } = tracksWith(1);
    const stop = new AbortController();
    await Promise.all([take("t r1"), take("t r1")]);
    const stopped = take("t r1", stop.signal);
    const next = take("t r1");
    stop.abort(new Error("stopped"));
    await expect(stopped).rejects.toThrow("stopped");
    ends[1]?.();
    await next;
    expect(began).toHaveLength(3);
  });
});
