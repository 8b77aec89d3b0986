import { describe, expect, test } from "vitest";
import { Batcher } from "../../../edge/intake/shard.ts";
import type { Sized } from "../../../edge/clients/fair-queue.ts";
import { turn } from "../../services/waiting.ts";

const MIB = 1024 * 1024;

/** A batcher whose batches end when the test says so. The size of an item is one byte, its tenant `a`. */
function manual(size: (item: number) => Sized = () => ({ tenant: "a", bytes: 1 })) {
  const batches: { items: number[]; end(error?: Error): void }[] = [];
  const handle = (items: number[]) =>
    new Promise<string[]>((resolve, reject) => {
      batches.push({
        items,
        end: (error) => (error ? reject(error) : resolve(items.map((item) => `item ${item}`))),
      });
    });
  return { batches, batcher: new Batcher({ handle, sizeOf: size, overflow: "overflow" }) };
}

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

  // Fails when waiting items have no bound in bytes, or still count after they were sent.
  test("gives the overflow result to a tenant with 16 MiB waiting, and to no other tenant", async () => {
    const { batches, batcher } = manual((item) => ({ tenant: item < 100 ? "a" : "b", bytes: 4 * MIB }));
    const first = batcher.add(0);
    await turn();
    const own = [1, 2, 3, 4].map((item) => batcher.add(item));
    expect(await batcher.add(5)).toBe("overflow");
    const others = [101, 102].map((item) => batcher.add(item));
    for (let i = 0; i < 7; i++) {
      batches[i]?.end();
      await turn();
    }
    expect(await Promise.all([first, ...own, ...others])).not.toContain("overflow");
    const late = batcher.add(6);
    await turn();
    batches.at(-1)?.end();
    expect(await late).toBe("item 6");
  });

  // Fails when waiting items are bounded for each tenant, and not for all of them: forty tenants fill the memory of an isolate.
  test("gives the overflow result to every tenant while 64 MiB wait", async () => {
    const { batches, batcher } = manual((item) => ({ tenant: `t${item}`, bytes: 10 * MIB }));
    const first = batcher.add(0);
    await turn();
    const waiting = [1, 2, 3, 4, 5, 6].map((item) => batcher.add(item));
    expect(await batcher.add(7)).toBe("overflow");
    for (let i = 0; i < 7; i++) {
      batches[i]?.end();
      await turn();
    }
    expect(await Promise.all([first, ...waiting])).not.toContain("overflow");
    const late = batcher.add(8);
    await turn();
    batches.at(-1)?.end();
    expect(await late).toBe("item 8");
  });

  test("puts 4 MiB into a batch at most, and a larger item alone", async () => {
    const { batches, batcher } = manual((item) => ({ tenant: "a", bytes: item * MIB }));
    const results = [2, 1, 1, 1, 5, 3].map((item) => batcher.add(item));
    for (let i = 0; i < 4; i++) {
      await turn();
      batches[i]?.end();
    }
    await Promise.all(results);
    expect(batches.map(({ items }) => items)).toEqual([[2, 1, 1], [1], [5], [3]]);
  });

  // Fails when the oldest items make the batch, without turns between tenants.
  test("takes items of tenants in turn: the item of a quiet tenant does not wait for all items of another tenant", async () => {
    const { batches, batcher } = manual((item) => ({
      tenant: item < 1_000 ? "loud" : `quiet-${item}`,
      bytes: 1,
    }));
    const results = Array.from({ length: 600 }, (_, item) => batcher.add(item));
    await turn();
    results.push(batcher.add(1_001), batcher.add(1_002));
    batches[0]?.end();
    await turn();
    expect(batches[1]?.items.slice(0, 4)).toEqual([128, 1_001, 1_002, 129]);
    for (let i = 1; i < 5; i++) {
      batches[i]?.end();
      await turn();
    }
    expect(await Promise.all(results)).toHaveLength(602);
  });
});
