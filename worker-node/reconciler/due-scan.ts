import type { KnownScan } from "../../shared/queue/index-progress.ts";
import type { WaitingRun, ScanPosition } from "../../shared/store/runs/reconcile.ts";
import type { Shards } from "./rebuild.ts";
import { PAGE, enqueueDue } from "./parts.ts";
import type { RepairParts } from "./parts.ts";

const PASS_MS = 1_000;
/** A run that is shown for the first time so late had lost its wake-up. */
const LATE_MS = 60_000;

/** `known`: what each shard knew of this walk when it was last told. */
type Walk = {
  at: ScanPosition;
  until: string;
  untilMs: number;
  /** After a rebuild: what it shows was known before, and lost. */
  first: boolean;
  /** The queue does not count until it is through. */
  isAwaited: boolean;
  known: Map<number, KnownScan>;
};

/**
 * docs/protocol.md 7.1: shows the queue every run that has become due, a few times soon after it did. A walk goes on over as many
 * passes as it takes; the first one after a rebuild is the whole backlog, and those after it open `admit`.
 */
export class DueScan {
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

  /** Goes on for about a second. @returns true when there is more, and the queue does not count until it is through */
  async pass(shards: Shards): Promise<boolean> {
    const startedMs = performance.now();
    // Emptied, or gone back in time, since then: its end would prove what this Redis was never shown.
    if (this.#walk && !isKnown(this.#walk, shards)) this.#walk = null;
    const walk = (this.#walk ??= await this.#start(shards));
    while (performance.now() - startedMs < PASS_MS) {
      const page = await this.#show(walk);
      const isThrough = page.length < PAGE;
      if (!(await this.#advance(walk, isThrough))) {
        this.#walk = null;
        return walk.isAwaited;
      }
      if (isThrough) {
        this.#walk = null;
        this.late = this.#lateHere;
        this.#lateHere = 0;
        return false;
      }
    }
    return walk.isAwaited;
  }

  async #start(shards: Shards): Promise<Walk> {
    const uptoMs = Math.min(...Array.from(shards.values(), (progress) => progress.uptoMs));
    const bounds = await this.#parts.store.scanBounds(Number.isFinite(uptoMs) ? uptoMs : null);
    return {
      at: { at: bounds.from, run_id: "" },
      until: bounds.until,
      untilMs: bounds.until_ms,
      first: !Number.isFinite(uptoMs),
      isAwaited: Array.from(shards.values()).some(({ quotaReady: full }) => !full),
      known: new Map(Array.from(shards, ([shard, { epoch, scanned }]) => [shard, { epoch, scanned }])),
    };
  }

  /** Shows the queue the next page of due runs. */
  async #show(walk: Walk): Promise<WaitingRun[]> {
    const { queue, store, repairs } = this.#parts;
    const page = await store.dueRuns(walk.at, walk.until, PAGE);
    const [late, fresh] = split(page, (run) => run.late_ms > LATE_MS);
    const lateUnknown = await enqueueDue(queue, late);
    repairs.enqueued += lateUnknown + (await enqueueDue(queue, fresh));
    if (!walk.first) this.#lateHere += lateUnknown;
    const last = page.at(-1);
    if (last) walk.at = { at: last.wake_at, run_id: last.run_id };
    return page;
  }

  /** Tells every shard how far the walk has come. @returns false when one of them knows another walk */
  async #advance(walk: Walk, isThrough: boolean): Promise<boolean> {
    // Never the same twice: a Redis that has gone back shows by it, also between two walks.
    const scanned = isThrough ? String(walk.untilMs) : `${walk.at.at} ${walk.at.run_id}`;
    const uptoMs = isThrough ? walk.untilMs : undefined;
    const told = await Promise.all(
      Array.from(walk.known, ([shard, known]) =>
        this.#parts.queue.advanceScan(shard, known, scanned, uptoMs),
      ),
    );
    for (const known of walk.known.values()) known.scanned = scanned;
    return told.every((isTold) => isTold);
  }
}

function isKnown(walk: Walk, shards: Shards): boolean {
  return Array.from(shards).every(([shard, { epoch, scanned }]) => {
    const known = walk.known.get(shard);
    return known?.epoch === epoch && known.scanned === scanned;
  });
}

function split<Item>(items: readonly Item[], test: (item: Item) => boolean): [Item[], Item[]] {
  return [items.filter(test), items.filter((item) => !test(item))];
}
