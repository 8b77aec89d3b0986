import type { WalkPosition } from "../../shared/store/reconcile.ts";
import type { Shards } from "./index-shards.ts";
import { PAGE, enqueueDue } from "./parts.ts";
import type { RepairParts } from "./parts.ts";

const PASS_MS = 1_000;
/** A run that is shown for the first time so late had lost its wake-up. */
const LATE_MS = 60_000;

type Walk = { at: WalkPosition; until: string; untilMs: number; first: boolean; knownMs: number };

/**
 * Rule 1: shows the queue every run that has become due, a few times soon after it did. A walk goes on over as many
 * passes as it takes; the first one after a rebuild is the whole backlog, and opens `admit` at its end.
 */
export class DueWalk {
  readonly #parts: RepairParts;
  #walk: Walk | null = null;
  #lateHere = 0;
  /** Runs that the last walk was the first to show, a minute or more after they were due. */
  late = 0;

  constructor(parts: RepairParts) {
    this.#parts = parts;
  }

  forget(): void {
    this.#walk = null;
  }

  /** Goes on for about a second. @returns true when there is more, and nobody is admitted until it is through */
  async pass(shards: Shards): Promise<boolean> {
    const { queue, store, repairs } = this.#parts;
    const startedMs = performance.now();
    const knownMs = Math.min(...Array.from(shards.values(), ({ uptoMs }) => uptoMs));
    // Emptied, or gone back in time, since the walk began: its end would prove what this Redis was never shown.
    if (this.#walk?.knownMs !== knownMs) this.#walk = null;
    const walk = (this.#walk ??= await this.#start(knownMs));
    while (performance.now() - startedMs < PASS_MS) {
      const page = await store.dueRuns(walk.at, walk.until, PAGE);
      const [late, fresh] = split(page, (run) => run.late_ms > LATE_MS);
      const lateUnknown = await enqueueDue(queue, late);
      repairs.enqueued += lateUnknown + (await enqueueDue(queue, fresh));
      if (!walk.first) this.#lateHere += lateUnknown;
      const last = page.at(-1);
      if (last) walk.at = { at: last.wake_at, run_id: last.run_id };
      if (page.length < PAGE) {
        for (const shard of shards.keys()) {
          await queue.advanceIndex(shard, { uptoMs: walk.untilMs, full: true });
        }
        this.#walk = null;
        this.late = this.#lateHere;
        this.#lateHere = 0;
        return false;
      }
    }
    return walk.first;
  }

  async #start(knownMs: number): Promise<Walk> {
    const bounds = await this.#parts.store.walkBounds(Number.isFinite(knownMs) ? knownMs : null);
    return {
      at: { at: bounds.from, run_id: "" },
      until: bounds.until,
      untilMs: bounds.until_ms,
      first: !Number.isFinite(knownMs),
      knownMs,
    };
  }
}

function split<Item>(items: readonly Item[], test: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}
