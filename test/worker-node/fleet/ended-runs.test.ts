import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { JobName } from "../../../shared/queue/job.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { EndedRuns } from "../../../worker-node/fleet/ended-runs.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const acme = TenantId.parse("acme");

// Fails when a claim does not cancel the planned call: that call would then finish the next run soon after its end, and a run alone would
// cost a call of its own again.
test("a claim that finishes the ended runs gives those that end after it the whole time to wait for the next claim", async () => {
  const finished: RunId[] = [];
  class FinishingQueue extends Queue {
    override async finish(jobs: readonly JobName[]) {
      finished.push(...jobs.map(({ run }) => run));
    }
  }
  const unreachable = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
  const queue = new FinishingQueue({ evalsha: unreachable, eval: unreachable }, 1);
  const ended = new EndedRuns({ owner: newIncarnation("w"), queue, delayMs: () => 20 });
  const end = (): JobName => {
    const job = { run: newRunId(Date.now()), tenant: acme };
    ended.noteRoomy({ runs: [job], excess: [], roomy: [acme], nextMs: 60_000, stillReady: 0 });
    ended.add(0, [job]);
    ended.finishSoon(0);
    return job;
  };
  const first = end();
  await vi.advanceTimersByTimeAsync(300);
  expect(ended.take(0)).toEqual([first]);
  const second = end();
  await vi.advanceTimersByTimeAsync(499);
  expect(finished).toEqual([]);
  await vi.advanceTimersByTimeAsync(1);
  expect(finished).toEqual([second.run]);
});
