import { TERMINAL } from "../../shared/contracts/run.ts";
import type { ScanPosition } from "../../shared/store/runs/due-runs.ts";
import type { LimitsPosition } from "../../shared/store/tenants/tenant-limits.ts";
import { enqueueDue } from "../../shared/queue/due-jobs.ts";
import { FIRST_LIMITS, pushLimitsPage } from "./push-limits.ts";
import { PAGE } from "./reconciler-deps.ts";
import type { RepairDeps, Shards } from "./reconciler-deps.ts";

const HOUR_MS = 3_600_000;
/** A pass enqueues due runs for this time. */
const PASS_MS = 200;
/** The cursor with which a scan of a shard's jobs starts, and with which it ends. */
const FIRST_CURSOR = "0";

/**
 * docs/protocol.md 7.9. Guarantee: faults that no other rule covers last an hour at most. The scan enqueues every due run, looks up
 * every job in Postgres and pushes the limits of every tenant, some in each pass. It starts with the first pass of a process, and once
 * an hour.
 *
 * It also starts when another Postgres answers: a standby that took over without the last seconds, or a backup. Such a Postgres may have
 * queued runs whose jobs the queue has finished, and other limits of tenants than the queue has.
 */
export class StrayScan {
  readonly #deps: RepairDeps;
  #startedMs = -Infinity;
  #server = "";
  #position: ScanPosition | null = null;
  #limits: LimitsPosition | null = null;
  /** Shards whose jobs are not all looked up yet. */
  #cursors = new Map<number, string>();

  constructor(deps: RepairDeps) {
    this.#deps = deps;
  }

  async pass(shards: Shards): Promise<void> {
    const { until, server } = await this.#deps.store.readScanBounds(null);
    if (performance.now() - this.#startedMs >= HOUR_MS || server !== this.#server) {
      this.#startedMs = performance.now();
      this.#server = server;
      this.#position = { at: "-infinity", run_id: "" };
      this.#limits = FIRST_LIMITS;
      this.#cursors = new Map(Array.from(shards.keys(), (shard) => [shard, FIRST_CURSOR]));
    }
    const beganMs = performance.now();
    while (this.#position && performance.now() - beganMs < PASS_MS) {
      this.#position = await this.#enqueuePage(this.#position, until);
    }
    if (this.#limits) this.#limits = await pushLimitsPage(this.#deps, this.#limits);
    for (const [shard, cursor] of this.#cursors) await this.#finishStrays(shard, cursor);
  }

  /** @returns where the next page begins; null when there is none */
  async #enqueuePage(after: ScanPosition, until: string): Promise<ScanPosition | null> {
    const { store, queue, repairs } = this.#deps;
    const page = await store.listDueRuns(after, until, PAGE);
    repairs.forgotten += await enqueueDue(queue, page);
    const last = page.at(-1);
    return last && page.length === PAGE ? { at: last.wake_at, run_id: last.run_id } : null;
  }

  async #finishStrays(shard: number, cursor: string): Promise<void> {
    const { store, queue, repairs } = this.#deps;
    const { cursor: next, jobs } = await queue.list(shard, cursor, PAGE);
    if (next === FIRST_CURSOR) this.#cursors.delete(shard);
    else this.#cursors.set(shard, next);
    // HSCAN may return more than COUNT.
    for (let start = 0; start < jobs.length; start += PAGE) {
      const page = jobs.slice(start, start + PAGE);
      const snapshots = await store.readRunSnapshots(page.map(({ run }) => run));
      const alive = new Set(
        snapshots.filter(({ status }) => !TERMINAL.has(status)).map(({ run_id }) => run_id),
      );
      const strays = page.filter(({ run }) => !alive.has(run));
      // A leased job is left to its worker. While a run is being accepted its reservation looks like a stray; the edge enqueues
      // the run right after.
      await queue.finish(strays, "");
      repairs.stray += strays.length;
    }
  }
}
