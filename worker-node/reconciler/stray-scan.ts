import { TERMINAL } from "../../shared/contracts/run.ts";
import type { ScanPosition } from "../../shared/store/runs/due-runs.ts";
import type { Shards } from "./rebuild.ts";
import { PAGE, enqueueDue } from "./parts.ts";
import type { RepairParts } from "./parts.ts";

const HOUR_MS = 3_600_000;
/** How long a pass shows due runs. */
const PASS_MS = 200;
const THROUGH = "0";

/**
 * docs/protocol.md 7.9: what should not exist. Every due run is shown to the queue, every job is looked up in Postgres, some in each
 * pass: from the first pass of a process on, and once an hour. It bounds what nobody has thought of.
 *
 * And when another Postgres answers: a standby that took over without the last seconds, or a backup, may have runs that
 * wait, and that the queue was shown and has finished since.
 */
export class StrayScan {
  readonly #parts: RepairParts;
  #startedMs = -Infinity;
  #server = "";
  #due: ScanPosition | null = null;
  #cursors = new Map<number, string>();

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  async pass(shards: Shards): Promise<void> {
    const { until, server } = await this.#parts.store.readScanBounds(null);
    if (performance.now() - this.#startedMs >= HOUR_MS || server !== this.#server) {
      this.#startedMs = performance.now();
      this.#server = server;
      this.#due = { at: "-infinity", run_id: "" };
      this.#cursors = new Map(Array.from(shards.keys(), (shard) => [shard, THROUGH]));
    }
    const beganMs = performance.now();
    while (this.#due && performance.now() - beganMs < PASS_MS)
      this.#due = await this.#showDue(this.#due, until);
    for (const [shard, cursor] of this.#cursors) await this.#lookAtJobs(shard, cursor);
  }

  async #showDue(after: ScanPosition, until: string): Promise<ScanPosition | null> {
    const { store, queue, repairs } = this.#parts;
    const page = await store.listDueRuns(after, until, PAGE);
    repairs.forgotten += await enqueueDue(queue, page);
    const last = page.at(-1);
    return last && page.length === PAGE ? { at: last.wake_at, run_id: last.run_id } : null;
  }

  async #lookAtJobs(shard: number, cursor: string): Promise<void> {
    const { store, queue, repairs } = this.#parts;
    const { cursor: next, jobs } = await queue.list(shard, cursor, PAGE);
    if (next === THROUGH) this.#cursors.delete(shard);
    else this.#cursors.set(shard, next);
    // HSCAN may answer more than it was asked for.
    for (let at = 0; at < jobs.length; at += PAGE) {
      const page = jobs.slice(at, at + PAGE);
      const looks = await store.readRunSnapshots(page.map(({ run }) => run));
      const alive = new Set(looks.filter(({ status }) => !TERMINAL.has(status)).map(({ run_id }) => run_id));
      const strays = page.filter(({ run }) => !alive.has(run));
      // What a worker holds it finishes itself; a reservation that is being committed looks like a stray for a moment,
      // and is enqueued right after.
      await queue.finish(strays, "");
      repairs.stray += strays.length;
    }
  }
}
