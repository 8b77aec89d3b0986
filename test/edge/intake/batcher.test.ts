import { describe, expect, test } from "vitest";
import { Batcher } from "../../../edge/intake/batcher.ts";

/** A batcher whose batches end when the test says so. */
function manual({ maxWaiting = 1_000 } = {}) {
  const batches: { items: number[]; end(error?: Error): void }[] = [];
  const handle = (items: number[]) =>
    new Promise<string[]>((resolve, reject) => {
      batches.push({
        items,
        end: (error) => (error ? reject(error) : resolve(items.map((item) => `item ${item}`))),
      });
    });
  return { batches, batcher: new Batcher({ handle, maxWaiting, overflow: "overflow" }) };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

describe("a batcher", () => {
  test("sends the first item at once, and batches the items that arrive during a batch", async () => {
    const { batches, batcher } = manual();
    const results = [batcher.add(1)];
    await turn();
    for (const item of [2, 3, 4]) {
      results.push(batcher.add(item));
      await turn();
    }
    expect(batches.map(({ items }) => items)).toEqual([[1]]);
    batches[0]?.end();
    await turn();
    expect(batches[1]?.items).toEqual([2, 3, 4]);
    for (const batch of batches) batch.end();
    expect(await Promise.all(results)).toEqual(["item 1", "item 2", "item 3", "item 4"]);
  });

  test("puts at most 128 items into a batch", async () => {
    const { batches, batcher } = manual();
    const results = Array.from({ length: 300 }, (_, item) => batcher.add(item));
    for (let i = 0; i < 3; i++) {
      await turn();
      for (const batch of batches) batch.end();
    }
    expect(await Promise.all(results)).toHaveLength(300);
    expect(batches.map(({ items }) => items.length)).toEqual([128, 128, 44]);
  });

  test("fails a batch as a whole, and continues with the next", async () => {
    const { batches, batcher } = manual();
    const failed = [batcher.add(1), batcher.add(2)];
    await turn();
    for (const batch of batches) batch.end(new Error("connection lost"));
    for (const result of await Promise.allSettled(failed)) expect(result.status).toBe("rejected");
    const next = batcher.add(3);
    await turn();
    batches.at(-1)?.end();
    expect(await next).toBe("item 3");
  });

  // Fails when the number of waiting items has no bound, or a full batcher stays full.
  test("gives the overflow result to an item beyond its bound, and to no item before or after", async () => {
    const { batches, batcher } = manual({ maxWaiting: 2 });
    const first = batcher.add(1);
    await turn();
    const results = [2, 3, 4].map((item) => batcher.add(item));
    expect(await results[2]).toBe("overflow");
    batches[0]?.end();
    await turn();
    const last = batcher.add(5);
    batches[1]?.end();
    await turn();
    batches[2]?.end();
    expect(await Promise.all([first, ...results, last])).toEqual([
      "item 1",
      "item 2",
      "item 3",
      "overflow",
      "item 5",
    ]);
  });
});
