import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Combiner } from "../../../edge/intake/combiner.ts";

/** Calls that end when the test says so. */
function held() {
  const calls: { items: number[]; end(error?: Error): void }[] = [];
  const combiner = new Combiner<number, string>();
  const call = (items: number[]) =>
    new Promise<string[]>((resolve, reject) => {
      calls.push({
        items,
        end: (error) => (error ? reject(error) : resolve(items.map((item) => `item ${item}`))),
      });
    });
  const ask = (item: number) => combiner.ask(item, call, (work) => void work.catch(() => {}));
  return { calls, ask };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());
const turn = () => vi.advanceTimersByTimeAsync(1);

describe("requests that share calls", () => {
  test("go at once when nobody is before them, and together when somebody is", async () => {
    const { calls, ask } = held();
    const answers = [1, 2, 3, 4].map(ask);
    await turn();
    expect(calls.map(({ items }) => items)).toEqual([[1]]);
    calls[0]?.end();
    await turn();
    expect(calls[1]?.items).toEqual([2, 3, 4]);
    answers.push(ask(5));
    calls[1]?.end();
    await turn();
    calls[2]?.end();
    expect(await Promise.all(answers)).toEqual(["item 1", "item 2", "item 3", "item 4", "item 5"]);
    expect(calls.map(({ items }) => items)).toEqual([[1], [2, 3, 4], [5]]);
  });

  test("are 128 at a time", async () => {
    const { calls, ask } = held();
    const answers = Array.from({ length: 300 }, (_, item) => ask(item));
    for (let i = 0; i < 4; i++) {
      await turn();
      calls.at(-1)?.end();
    }
    expect(await Promise.all(answers)).toHaveLength(300);
    expect(calls.map(({ items }) => items.length)).toEqual([1, 128, 128, 43]);
  });

  test("fail together, and those after them go on", async () => {
    const { calls, ask } = held();
    const first = ask(0);
    const failed = [ask(1), ask(2)].map((answer) => answer.catch((error: unknown) => String(error)));
    await turn();
    calls[0]?.end();
    await turn();
    const next = ask(3);
    calls[1]?.end(new Error("lost"));
    expect(await Promise.all([first, ...failed])).toEqual(["item 0", "Error: lost", "Error: lost"]);
    await turn();
    calls[2]?.end();
    expect(await next).toBe("item 3");
  });

  // Red when: `isLed` believes in a leader for ever.
  test("do not wait for a leader that never comes back, and are not asked for twice", async () => {
    const { calls, ask } = held();
    const gone = ask(0).catch((error: unknown) => String(error));
    const answers = [ask(1), ask(2)];
    await vi.advanceTimersByTimeAsync(4_000);
    expect(calls.map(({ items }) => items)).toEqual([[0], [1, 2]]);
    calls[1]?.end();
    expect(await Promise.all(answers)).toEqual(["item 1", "item 2"]);
    calls[0]?.end();
    expect(await gone).toBe("item 0");
  });

  // Red when: a waiting request has no time of its own.
  test("are told when no answer comes in time", async () => {
    const { calls, ask } = held();
    void ask(0).catch(() => {});
    void ask(1).catch(() => {});
    const rider = ask(2).catch((error: unknown) => String(error));
    calls[0]?.end();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await rider).toBe("Error: no answer in time");
    expect(calls.map(({ items }) => items)).toEqual([[0], [1, 2]]);
  });
});
