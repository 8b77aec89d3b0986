import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Combiner } from "../../../edge/clients/combiner.ts";

/** A combiner whose calls end when the test says so. `leaders`: the item of the request that made each call. */
function manual() {
  const calls: { items: number[]; end(error?: Error): void }[] = [];
  const combiner = new Combiner<number, string>(() => ({ tenant: "a", bytes: 1 }));
  const leaders: number[] = [];
  const call = (items: number[], leader: number) =>
    new Promise<string[]>((resolve, reject) => {
      leaders.push(leader);
      calls.push({
        items,
        end: (error) => (error ? reject(error) : resolve(items.map((item) => `item ${item}`))),
      });
    });
  const send = (item: number) =>
    combiner.send(
      item,
      (items) => call(items, item),
      (work) => void work.catch(() => {}),
    );
  return { calls, leaders, send };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());
const turn = () => vi.advanceTimersByTimeAsync(1);

describe("requests that share calls", () => {
  test("call at once when no call is under way, and together after a call", async () => {
    const { calls, send } = manual();
    const results = [1, 2, 3, 4].map(send);
    await turn();
    expect(calls.map(({ items }) => items)).toEqual([[1]]);
    calls[0]?.end();
    await turn();
    expect(calls[1]?.items).toEqual([2, 3, 4]);
    results.push(send(5));
    calls[1]?.end();
    await turn();
    calls[2]?.end();
    expect(await Promise.all(results)).toEqual(["item 1", "item 2", "item 3", "item 4", "item 5"]);
    expect(calls.map(({ items }) => items)).toEqual([[1], [2, 3, 4], [5]]);
  });

  test("are at most 128 in one call", async () => {
    const { calls, send } = manual();
    const results = Array.from({ length: 300 }, (_, item) => send(item));
    for (let i = 0; i < 4; i++) {
      await turn();
      calls.at(-1)?.end();
    }
    expect(await Promise.all(results)).toHaveLength(300);
    expect(calls.map(({ items }) => items.length)).toEqual([1, 128, 128, 43]);
  });

  test("fail together, and later requests succeed", async () => {
    const { calls, send } = manual();
    const first = send(0);
    const failed = [send(1), send(2)].map((result) => result.catch((error: unknown) => String(error)));
    await turn();
    calls[0]?.end();
    await turn();
    const next = send(3);
    calls[1]?.end(new Error("call failed"));
    expect(await Promise.all([first, ...failed])).toEqual([
      "item 0",
      "Error: call failed",
      "Error: call failed",
    ]);
    await turn();
    calls[2]?.end();
    expect(await next).toBe("item 3");
  });

  // Fails when the lead passes to a follower after each call: each call then waits for one more entry into a request.
  test("have one leader for 64 calls, and then another", async () => {
    const leaders: number[] = [];
    const combiner = new Combiner<number, number>(() => ({ tenant: "a", bytes: 1 }));
    const results: Promise<number>[] = [];
    const send = (item: number): void => {
      const call = (items: number[]) => {
        // A request arrives during each call.
        if (leaders.push(item) < 70) send(leaders.length);
        return Promise.resolve(items);
      };
      results.push(combiner.send(item, call, (work) => void work.catch(() => {})));
    };
    send(0);
    while (results.length < 70) await turn();
    expect(await Promise.all(results)).toHaveLength(70);
    expect(leaders).toEqual(Array.from({ length: 70 }, (_, call) => (call < 64 ? 0 : 64)));
  });

  // Fails when a request that can make no more calls, by the runtime's limits, goes on to fail the calls of others.
  test("have another leader after a call that failed", async () => {
    const combiner = new Combiner<number, number>(() => ({ tenant: "a", bytes: 1 }));
    const failing = () => Promise.reject<number[]>(new Error("too many calls of this request"));
    const working = (items: number[]) => Promise.resolve(items);
    const results = [failing, working, working].map((call, item) =>
      combiner.send(item, call, (work) => void work.catch(() => {})),
    );
    expect(await Promise.allSettled(results)).toMatchObject([
      { status: "rejected" },
      { status: "fulfilled", value: 1 },
      { status: "fulfilled", value: 2 },
    ]);
  });

  // Fails when a leader has no bound on its time: calls may be slow.
  test("have another leader after a second", async () => {
    const { leaders, calls, send } = manual();
    const results = [send(0), send(1)];
    await turn();
    await vi.advanceTimersByTimeAsync(600);
    calls[0]?.end();
    await turn();
    results.push(send(2));
    await vi.advanceTimersByTimeAsync(600);
    calls[1]?.end();
    await turn();
    calls[2]?.end();
    expect(await Promise.all(results)).toHaveLength(3);
    expect(leaders).toEqual([0, 0, 2]);
  });

  // Fails when `#isLed` waits for a leader without a limit.
  test("replace a leader that never returns, and send no item twice", async () => {
    const { calls, send } = manual();
    const resultOfLeader = send(0).catch((error: unknown) => String(error));
    const results = [send(1), send(2)];
    await vi.advanceTimersByTimeAsync(4_000);
    expect(calls.map(({ items }) => items)).toEqual([[0], [1, 2]]);
    calls[1]?.end();
    expect(await Promise.all(results)).toEqual(["item 1", "item 2"]);
    calls[0]?.end();
    expect(await resultOfLeader).toBe("item 0");
  });

  // Fails when a follower has no deadline of its own.
  test("get an error when there is no result in time", async () => {
    const { calls, send } = manual();
    void send(0).catch(() => {});
    void send(1).catch(() => {});
    const follower = send(2).catch((error: unknown) => String(error));
    calls[0]?.end();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await follower).toBe("Error: no result in time");
    expect(calls.map(({ items }) => items)).toEqual([[0], [1, 2]]);
  });
});
