import { expect, test } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../shared/contracts/ids.ts";
import { ColdError, Queue } from "../../shared/queue/queue.ts";
import type { IndexProgress, Job } from "../../shared/queue/queue.ts";
import type { WaitingRun } from "../../shared/store/reconcile.ts";
import { DueWalk } from "../../worker-node/repairs/due-walk.ts";
import { refusingStore } from "./fakes.ts";

/** A queue that remembers what it was shown, and can lose it all. */
class Shown extends Queue {
  readonly jobs = new Set<string>();
  index: IndexProgress | null = { uptoMs: 1_000, full: true, limitsUptoMs: 0 };

  constructor() {
    const none = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
    super({ evalsha: none, eval: none }, 1);
  }
  override async enqueue(jobs: readonly Job[]) {
    if (!this.index) throw new ColdError(0);
    for (const { run } of jobs) this.jobs.add(run);
    return jobs.length;
  }
  override async advanceIndex(_shard: number, progress: Partial<IndexProgress>) {
    if (!this.index) throw new ColdError(0);
    this.index = { ...this.index, ...progress };
  }
}

const due = Array.from({ length: 2_500 }, (_, i): WaitingRun => {
  return {
    run_id: newRunId(1_780_000_000_000 + i),
    tenant_id: TenantId.parse("acme"),
    lane: "default",
    priority: 0,
    queued_at_ms: i,
    status: "queued",
    wake_at: String(i).padStart(6, "0"),
    late_ms: 0,
  };
});

// Red when: a walk that was under way goes on: its end would prove that Redis knows what it was shown before the loss.
test.each([
  ["was emptied and has an index again", -Infinity],
  ["has gone back in time", 500],
])("a walk that was under way starts anew when Redis %s", async (_name, uptoMs) => {
  const queue = new Shown();
  const store = {
    ...refusingStore,
    walkBounds: async () => ({ from: "", until: "999999", until_ms: 2_000, now_ms: 4_000 }),
    dueRuns: async (after: { at: string }, _until: string, limit: number) =>
      due.filter(({ wake_at }) => wake_at > after.at).slice(0, limit),
  };
  const repairs = { enqueued: 0, rebuilt: 0, silent: 0, overdue: 0, limits: 0, forgotten: 0, stray: 0 };
  const walk = new DueWalk({ owner: newIncarnation("w"), store, queue, repairs, isolation: true });
  const pass = () => walk.pass(new Map([[0, queue.index ?? { uptoMs: 0, full: false, limitsUptoMs: 0 }]]));
  const enqueue = queue.enqueue.bind(queue);
  let pages = 0;
  queue.enqueue = async (jobs) => {
    if (pages++ === 1) {
      queue.jobs.clear();
      queue.index = null;
    }
    return enqueue(jobs);
  };
  await expect(pass()).rejects.toThrow(ColdError);
  // The index is there again, but whoever made it could not say so here.
  queue.index = { uptoMs, full: false, limitsUptoMs: 0 };
  await pass();
  expect(queue.index).toMatchObject({ uptoMs: 2_000, full: true });
  expect(queue.jobs.size).toBe(due.length);
});
