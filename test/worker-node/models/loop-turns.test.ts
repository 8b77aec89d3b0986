import { expect, test } from "vitest";
import { LoopTurns } from "../../../worker-node/models/loop-turns.ts";
import { turn } from "../../services/waiting.ts";

// Fails when 200 answers that end at once keep a worker from all else.
test("work that waits for its turn goes on one by one, with a turn of the event loop between", async () => {
  const turns = new LoopTurns();
  const done: number[] = [];
  const all = [0, 1, 2].map(async (i) => {
    await turns.next();
    done.push(i);
  });
  const seen: number[] = [];
  while (done.length < 3) {
    await turn();
    seen.push(done.length);
  }
  await Promise.all(all);
  expect(done).toEqual([0, 1, 2]);
  expect(seen).toEqual([1, 2, 3]);
});
