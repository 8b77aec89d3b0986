import { describe, expect, test } from "vitest";
import { TrackTurns } from "../../../worker-node/execution/track-turns.ts";

const settled = () => new Promise(setImmediate);

/** Takes turns by name (`tenant run`), and says in which order they began. */
function turnsOf(turns: number) {
  const pool = new TrackTurns(turns);
  const began: string[] = [];
  const ends: (() => void)[] = [];
  const take = (name: string, signal = new AbortController().signal) =>
    pool.take(name.split(" ")[1] ?? "", name.split(" ")[0] ?? "", signal).then((end) => {
      began.push(name);
      ends.push(end);
    });
  return { began, ends, take };
}

describe("the tracks of a worker", () => {
  // Fails when a run with no moving track waits for the branches of others.
  test("move one of each run at once, and beyond that as many as there are turns", async () => {
    const { began, ends, take } = turnsOf(2);
    for (const name of ["t r1", "t r1", "t r1", "t r1", "u r2"]) void take(name);
    await settled();
    expect(began).toEqual(["t r1", "t r1", "t r1", "u r2"]);
    ends[0]?.();
    await settled();
    expect(began).toHaveLength(5);
  });

  // Fails when turns are given in the order of the requests: one tenant's thousand iterations would be before all others.
  test("of tenants that wait get free turns one after the other", async () => {
    const { began, ends, take } = turnsOf(1);
    const [own, otherOwn, shared] = ["t r1", "u r2", "t r1"];
    for (const name of [own, otherOwn, shared, "t r1", "t r1", "t r1", "u r2", "u r2"]) void take(name);
    await settled();
    for (let turns = 3; turns < 7; turns++) {
      ends.pop()?.();
      await settled();
    }
    expect(began.slice(3)).toEqual(["t r1", "u r2", "t r1", "u r2"]);
  });

  test("that are stopped while they wait leave no turn behind", async () => {
    const { began, ends, take } = turnsOf(1);
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
