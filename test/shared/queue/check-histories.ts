import fc from "fast-check";
import { TEST_SEED } from "../../services/seed.ts";
import { command } from "./commands.ts";
import type { TestQueue } from "./fixture.ts";
import { History } from "./history.ts";

const LONGEST = 100;

/**
 * Applies `runs` random histories of up to 100 commands each to Redis and to the model of the queue.
 * @throws Error with the seed and the smallest history in which they differ
 */
export async function checkHistories(t: TestQueue, runs: number, seed = TEST_SEED): Promise<void> {
  const histories = fc.array(command, { minLength: 1, maxLength: LONGEST, size: "max" });
  await fc.assert(
    fc.asyncProperty(histories, async (commands) => {
      const history = new History(t, t.queue);
      await history.begin();
      for (const each of commands) await history.apply(each);
    }),
    { numRuns: runs, seed },
  );
}
