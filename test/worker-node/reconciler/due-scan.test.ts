import { expect, onTestFinished, test, vi } from "vitest";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import type { IndexProgress, KnownScan } from "../../../shared/queue/index-progress.ts";
import type { Job } from "../../../shared/queue/job.ts";
import type { DueRun } from "../../../shared/store/runs/due-runs.ts";
import { QueueLinks } from "../../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../../worker-node/fleet/worker-timing.ts";
import { DueScan } from "../../../worker-node/reconciler/due-scan.ts";
import { refusingStore } from "../fakes.ts";
import { noRepairs } from "../../../worker-node/reconciler/reconciler-deps.ts";

const begun: IndexProgress = { epoch: "0", scanned: "", uptoMs: 1_000, quotaReady: false, limitsUptoMs: 0 };

/** A queue that records what was enqueued, and whose index a test can replace or delete. */
class FakeQueue extends Queue {
  readonly jobs = new Set<string>();
  index: IndexProgress | null = { ...begun, epoch: "1" };

  constructor() {
    const refuse = async (): Promise<unknown> => Promise.reject(new Error("no Redis here"));
    super({ evalsha: refuse, eval: refuse }, 1);
  }
  override async enqueue(jobs: readonly Job[]) {
    if (!this.index) throw new ColdError(0);
    for (const { run } of jobs) this.jobs.add(run);
    return jobs.length;
  }
  override async advanceScan(_shard: number, known: KnownScan, scanned: string, uptoMs?: number) {
    if (!this.index) throw new ColdError(0);
    if (known.epoch !== this.index.epoch || known.scanned !== this.index.scanned) return false;
    this.index = { ...this.index, scanned, uptoMs: uptoMs ?? this.index.uptoMs };
    return true;
  }
}

const due = Array.from({ length: 2_500 }, (_, i): DueRun => {
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

function scanOver(queue: Queue, runs: readonly DueRun[] = due, bounds = { until: "999999" }): DueScan {
  const store = {
    ...refusingStore,
    readScanBounds: async () => ({ from: "", ...bounds, until_ms: 2_000, now_ms: 4_000, server: "1" }),
    listDueRuns: async (after: { at: string }, until: string, limit: number) =>
      runs.filter(({ wake_at }) => wake_at > after.at && wake_at <= until).slice(0, limit),
  };
  const repairs = noRepairs();
  return new DueScan({
    files: () => null,
    owner: newIncarnation("w"),
    store,
    queue,
    repairs,
    links: new QueueLinks(1, workerTiming),
    timing: workerTiming,
    isolation: true,
    announceQueue: async () => {},
  });
}

// Fails when a scan under way goes on: its end would prove that Redis knows runs that it has lost.
test.each([
  ["was emptied and has an index again", { ...begun, epoch: "2", uptoMs: -Infinity }],
  ["was rolled back", { ...begun, epoch: "1" }],
])("a scan under way starts anew when Redis %s", async (_name, index) => {
  const queue = new FakeQueue();
  const scan = scanOver(queue);
  const pass = () => scan.pass(new Map([[0, queue.index ?? begun]]));
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
  // Another reconciler made the index again: this scan was not notified.
  queue.index = index;
  await pass();
  expect(queue.index).toMatchObject({ uptoMs: 2_000, scanned: "2000" });
  expect(queue.jobs.size).toBe(due.length);
});

// Fails when two scans store the same progress: then a Redis that was rolled back cannot be recognised.
test("a scan of one page proves nothing to a Redis that was rolled back between the page and the end of the scan", async () => {
  const queue = new FakeQueue();
  const scan = scanOver(queue);
  const before = { ...begun, epoch: "1", scanned: "500", uptoMs: 500 };
  queue.index = { ...begun, epoch: "1", scanned: "1000" };
  const { enqueue } = queue;
  queue.enqueue = async (jobs) => {
    queue.index = before;
    return enqueue.call(queue, jobs);
  };
  await scan.pass(new Map([[0, queue.index]]));
  expect(queue.index).toEqual(before);
});

// Fails when DueScan ignores the reply of `advanceScan`, or when index.lua accepts the progress of any scan.
test("a scan that goes on while another reconciler rebuilds proves nothing", async () => {
  const queue = new FakeQueue();
  const scan = scanOver(queue);
  const enqueue = queue.enqueue.bind(queue);
  let pages = 0;
  queue.enqueue = async (jobs) => {
    const known = await enqueue(jobs);
    if (pages++ === 0) {
      queue.jobs.clear();
      queue.index = { ...begun, epoch: "2", uptoMs: -Infinity };
    }
    return known;
  };
  await scan.pass(new Map([[0, { ...begun, epoch: "1" }]]));
  expect(queue.index).toMatchObject({ uptoMs: -Infinity });
  await scan.pass(new Map([[0, queue.index ?? begun]]));
  expect(queue.index).toMatchObject({ uptoMs: 2_000 });
  expect(queue.jobs.size).toBe(due.length);
});

// Fails when a page's position is stored before its runs are enqueued: a scan that ends between the two would prove that Redis knows them.
test.each([0, 1, 2])(
  "a scan whose page %i is not enqueued has stored the positions of the pages before alone",
  async (failing) => {
    const queue = new FakeQueue();
    const enqueue = queue.enqueue.bind(queue);
    let pages = 0;
    queue.enqueue = async (jobs) => {
      if (pages++ === failing) throw new Error("the connection broke");
      return enqueue(jobs);
    };
    const scan = scanOver(queue);
    const pass = () => scan.pass(new Map([[0, queue.index ?? begun]]));
    await expect(pass()).rejects.toThrow("the connection broke");
    const last = due[failing * 1_000 - 1];
    expect(queue.index).toMatchObject({
      uptoMs: 1_000,
      scanned: last ? `${last.wake_at} ${last.run_id}` : "",
    });
    expect(queue.jobs.size).toBe(failing * 1_000);
    scan.reset();
    await pass();
    expect(queue.index).toMatchObject({ uptoMs: 2_000 });
    expect(queue.jobs.size).toBe(due.length);
  },
);

// Fails when a scan looks at no run that it has passed: a run that is due soon waits until all later ones are shown.
test("a run that becomes due while the scan goes on to later runs is enqueued before the scan is complete", async () => {
  const queue = new FakeQueue();
  const runs = due.map((run): DueRun => ({ ...run, status: "paused", late_ms: -1 }));
  const bounds = { until: "000000" };
  const scan = scanOver(queue, runs, bounds);
  // Each look at the clock finds 600 ms gone, so a pass is one page.
  let nowMs = 0;
  const clock = vi.spyOn(performance, "now").mockImplementation(() => (nowMs += 600));
  onTestFinished(() => clock.mockRestore());
  const pass = () => scan.pass(new Map([[0, queue.index ?? begun]]));
  expect(await pass()).toBe(true);
  expect(queue.jobs.size).toBe(0);
  runs.splice(0, 3, ...due.slice(0, 3));
  bounds.until = "000002";
  expect(await pass()).toBe(true);
  expect(queue.jobs).toEqual(new Set(due.slice(0, 3).map(({ run_id }) => run_id)));
});
