import fc from "fast-check";
import { afterAll, beforeAll, test } from "vitest";
import { command } from "./commands.ts";
import { TestQueue } from "./fixture.ts";
import { History } from "./history.ts";

/** Each run is a history of up to 100 commands. SYNAPSE_FUZZ_RUNS makes it longer; a failure prints its seed. */
const RUNS = Number(process.env.SYNAPSE_FUZZ_RUNS ?? 100);

let t: TestQueue;
beforeAll(async () => {
  t = await TestQueue.start();
});
afterAll(() => t.stop());

test(
  "after any history of all verbs by several workers, Redis holds what the model says, and answered so",
  { timeout: 20_000 + RUNS * 1000 },
  async () => {
    const histories = fc.array(command, { minLength: 1, maxLength: 100, size: "max" });
    await fc.assert(
      fc.asyncProperty(histories, async (commands) => {
        const history = new History(t, t.queue);
        await history.begin();
        for (const each of commands) await history.apply(each);
      }),
      { numRuns: RUNS },
    );
  },
);
