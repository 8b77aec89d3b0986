import type { RunId } from "../../shared/contracts/ids.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { LANES } from "../../shared/contracts/run.ts";

/** How many runs of which lanes this worker executes, and may still take. */
export class Slots {
  readonly total: number;
  readonly lanes: readonly Lane[];
  readonly #taken = new Map<RunId, Lane>();
  /** Slots that claims under way may fill. */
  #reserved = 0;
  #freed = Promise.withResolvers<void>();

  constructor(total: number, lanes: readonly Lane[]) {
    this.total = total;
    this.lanes = lanes;
  }

  get active(): number {
    return this.#taken.size;
  }

  /** Slots that a claim may ask for now. */
  get free(): number {
    return this.total - this.#taken.size - this.#reserved;
  }

  /** Resolves when a slot or a reservation is freed next. */
  get freed(): Promise<void> {
    return this.#freed.promise;
  }

  take(run: RunId, lane: Lane): void {
    this.#taken.set(run, lane);
  }

  release(run: RunId): void {
    this.#taken.delete(run);
    this.wakeWaiting();
  }

  /** The claim loops of other shards do not count these slots as free until `unreserve`. */
  reserve(count: number): void {
    this.#reserved += count;
  }

  unreserve(count: number): void {
    this.#reserved -= count;
    this.wakeWaiting();
  }

  /** Resolves `freed`: a claim loop that waits for a slot looks again. */
  wakeWaiting(): void {
    this.#freed.resolve();
    this.#freed = Promise.withResolvers<void>();
  }

  /** How many jobs of each lane this worker may still claim. */
  room(): Partial<Record<Lane, number>> {
    const room = lanesOf(this.lanes, this.total);
    for (const lane of this.#taken.values()) room[lane] = (room[lane] ?? 0) - 1;
    return room;
  }

  /** The lanes to wait for: a lane that is full here has a marker for other workers all the time. */
  lanesWithRoom(): Lane[] {
    const room = this.room();
    return this.lanes.filter((lane) => (room[lane] ?? 0) > 0);
  }
}

/** How many jobs of each lane a worker with `slots` slots may execute at once. The only lane of a worker gets all of them. */
function lanesOf(lanes: readonly Lane[], slots: number): Partial<Record<Lane, number>> {
  const share = (lane: Lane) => (lanes.length === 1 ? 1 : LANES[lane].share);
  return Object.fromEntries(lanes.map((lane) => [lane, Math.max(1, Math.floor(slots * share(lane)))]));
}
