import { describe, expect, test } from "vitest";
import { Batcher } from "../../../edge/intake/batcher.ts";

/** A handler whose batches end when the test says so. */
function held() {
  const batches: { items: number[]; end(error?: Error): void }[] = [];
  const handle = (items: number[]) =>
    new Promise<string[]>((resolve, reject) => {
      batches.push({
        items,
        end: (error) => (error ? reject(error) : resolve(items.map((item) => `item ${item}`))),
      });
    });
  return { batches, gatherer: new Batcher(handle) };
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

describe("a gatherer", () => {
  test("lets the first go at once, and gathers what comes while its batch is under way", async () => {
    const { batches, gatherer } = held();
    const answers = [gatherer.add(1)];
    await turn();
    for (const item of [2, 3, 4]) {
      answers.push(gatherer.add(item));
      await turn();
    }
    expect(batches.map(({ items }) => items)).toEqual([[1]]);
    batches[0]?.end();
    await turn();
    expect(batches[1]?.items).toEqual([2, 3, 4]);
    for (const batch of batches) batch.end();
    expect(await Promise.all(answers)).toEqual(["item 1", "item 2", "item 3", "item 4"]);
  });

  test("takes 128 at a time", async () => {
    const { batches, gatherer } = held();
    const answers = Array.from({ length: 300 }, (_, item) => gatherer.add(item));
    for (let i = 0; i < 3; i++) {
      await turn();
      for (const batch of batches) batch.end();
    }
    expect(await Promise.all(answers)).toHaveLength(300);
    expect(batches.map(({ items }) => items.length)).toEqual([128, 128, 44]);
  });

  test("fails a batch as a whole, and goes on with the next", async () => {
    const { batches, gatherer } = held();
    const failed = [gatherer.add(1), gatherer.add(2)];
    await turn();
    for (const batch of batches) batch.end(new Error("lost"));
    for (const answer of await Promise.allSettled(failed)) expect(answer.status).toBe("rejected");
    const next = gatherer.add(3);
    await turn();
    batches.at(-1)?.end();
    expect(await next).toBe("item 3");
  });
});
