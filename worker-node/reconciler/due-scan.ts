import type { KnownScan } from "../../shared/queue/index-progress.ts";
import type { DueRun, ScanPosition } from "../../shared/store/runs/due-runs.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import { PAGE } from "./reconciler-deps.ts";
import type { RepairDeps, Shards } from "./reconciler-deps.ts";

/** A pass scans for about this time. */
const PASS_MS = 1_000;
/** A run that the queue did not know this long after it was due had lost its wake-up. */
const LATE_MS = 60_000;

/** A scan under way. */
type Scan = {
  position: ScanPosition;
  /** The scan ends at this `wake_at`. */
  until: string;
  /** Up to this time, in milliseconds of Postgres, the queue knows all due runs after the scan. */
  untilMs: number;
  /** The first scan after a rebuild: the queue knew these runs before it was emptied, so they do not count as late. */
  isAfterRebuild: boolean;
  /** A shard is not quota ready: `admit` does not count there before this scan is complete. */
  isQuotaAwaited: boolean;
  /** Behind this position are the runs that became due after the scan had passed them. Null: it has met no run that is due later. */
  passed: ScanPosition | null;
  /** The progress of this scan that each shard has stored. */
  stored: Map<number, KnownScan>;
};

/** The end of a scan that shows the queue all queued runs, also those that are due later: they count in their tenants' quotas. */
const ALL_QUEUED = "infinity";

/**
 * docs/protocol.md 7.1. Guarantee: the queue knows every run that is due. Each due run is enqueued a few times soon after its
 * `wake_at`. A scan goes on over as many passes as it takes. The first one after a rebuild covers the whole backlog; the
 * scans after it make the shard quota ready.
 */
export class DueScan {
  readonly #deps: RepairDeps;
  #scan: Scan | null = null;
  #lateInScan = 0;
  /** Runs that the last complete scan was the first to enqueue, a minute or more after they were due. */
  lateRuns = 0;

  constructor(deps: RepairDeps) {
    this.#deps = deps;
  }

  /** The next pass starts a new scan. */
  reset(): void {
    this.#scan = null;
  }

  /** Scans for about a second. @returns true while the scan is not complete and `admit` does not count before that */
  async pass(shards: Shards): Promise<boolean> {
    const startedMs = performance.now();
    // A shard that was emptied or rolled back since the last pass may have lost runs of this scan, so its end would prove
    // nothing.
    if (this.#scan && !isStored(this.#scan, shards)) this.#scan = null;
    const scan = (this.#scan ??= await this.#start(shards));
    if (scan.passed) scan.passed = await this.#enqueuePassed(scan.passed);
    while (performance.now() - startedMs < PASS_MS) {
      const page = await this.#enqueuePage(scan);
      const isComplete = page.length < PAGE;
      if (!(await this.#storeProgress(scan, isComplete))) {
        this.#scan = null;
        return scan.isQuotaAwaited;
      }
      if (isComplete) {
        this.#scan = null;
        this.lateRuns = this.#lateInScan;
        this.#lateInScan = 0;
        return false;
      }
    }
    return scan.isQuotaAwaited;
  }

  async #start(shards: Shards): Promise<Scan> {
    const uptoMs = Math.min(...Array.from(shards.values(), (progress) => progress.uptoMs));
    const bounds = await this.#deps.store.readScanBounds(Number.isFinite(uptoMs) ? uptoMs : null);
    const isQuotaAwaited = Array.from(shards.values()).some(({ quotaReady }) => !quotaReady);
    return {
      position: { at: bounds.from, run_id: "" },
      until: isQuotaAwaited ? ALL_QUEUED : bounds.until,
      untilMs: bounds.until_ms,
      isAfterRebuild: !Number.isFinite(uptoMs),
      isQuotaAwaited,
      passed: null,
      stored: new Map(Array.from(shards, ([shard, { epoch, scanned }]) => [shard, { epoch, scanned }])),
    };
  }

  async #enqueuePage(scan: Scan): Promise<DueRun[]> {
    const { queue, store, repairs } = this.#deps;
    const page = await store.listDueRuns(scan.position, scan.until, PAGE);
    // A paused run counts in no quota: a later scan enqueues it when it is due.
    const shown = page.filter((run) => run.status === "queued" || isDue(run));
    const isLate = (run: DueRun) => run.late_ms > LATE_MS;
    const lateUnknown = await enqueueDue(queue, shown.filter(isLate));
    const recent = shown.filter((run) => !isLate(run));
    repairs.enqueued += lateUnknown + (await enqueueDue(queue, recent));
    if (!scan.isAfterRebuild) this.#lateInScan += lateUnknown;
    const last = page.at(-1);
    if (last && last.late_ms < 0) scan.passed ??= positionOf(page.findLast(isDue)) ?? scan.position;
    scan.position = positionOf(last) ?? scan.position;
    return page;
  }

  /**
   * Enqueues a page of the runs that became due while the scan goes on to later ones: with many of those it takes longer than a due run
   * may wait.
   * @returns where the next page begins
   */
  async #enqueuePassed(after: ScanPosition): Promise<ScanPosition> {
    const { queue, store, repairs } = this.#deps;
    const { until } = await store.readScanBounds(null);
    const page = await store.listDueRuns(after, until, PAGE);
    repairs.enqueued += await enqueueDue(queue, page);
    return positionOf(page.at(-1)) ?? after;
  }

  /** Stores the scan's progress in every shard. @returns false when a shard knows another scan */
  async #storeProgress(scan: Scan, isComplete: boolean): Promise<boolean> {
    // Never the same value twice: a Redis that was rolled back is recognised by it, also between two scans.
    const scanned = isComplete ? String(scan.untilMs) : `${scan.position.at} ${scan.position.run_id}`;
    const uptoMs = isComplete ? scan.untilMs : undefined;
    const accepted = await Promise.all(
      Array.from(scan.stored, ([shard, known]) =>
        this.#deps.queue.advanceScan(shard, known, scanned, uptoMs),
      ),
    );
    for (const known of scan.stored.values()) known.scanned = scanned;
    return accepted.every((isAccepted) => isAccepted);
  }
}

function isDue({ late_ms }: DueRun): boolean {
  return late_ms >= 0;
}

function positionOf(run: DueRun | undefined): ScanPosition | null {
  return run ? { at: run.wake_at, run_id: run.run_id } : null;
}

function isStored(scan: Scan, shards: Shards): boolean {
  return Array.from(shards).every(([shard, { epoch, scanned }]) => {
    const known = scan.stored.get(shard);
    return known?.epoch === epoch && known.scanned === scanned;
  });
}
