import type { RunId, TenantId } from "../../shared/contracts/ids.ts";
import { RunLane, isRunLane } from "../../shared/contracts/run.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { LANE_SHARES } from "../../shared/contracts/lane-settings.ts";
import type { HeldRuns, Room } from "../../shared/queue/claim.ts";
import { LiveLaneSettings } from "./live-lane-settings.ts";

/**
 * A worker has this many times WORKER_CONCURRENCY slots. Any tenant may take an open slot, and `openTotal` of them are open; the
 * others are spare: for tenants that hold fewer runs here than slots are free. So a tenant that is alone holds up to
 * `openTotal`, and two tenants hold two thirds of that each. A tenant that holds none finds a slot, however long the runs of the others
 * last, as long as fewer tenants hold one than the worker has slots.
 */
const ALL_SLOTS = 2;

/**
 * The bytes of state that all runs of a worker may hold. As with slots, half of it is for any tenant; beyond that a tenant may
 * begin another run only while its own runs hold less than is free.
 */
const STATE_BYTES = 256 * 1024 * 1024;

type LaneSlots = Partial<Record<Lane, number>>;
type Held = { tenant: TenantId; lane: Lane; stateBytes: number };

/** The markers to wait for: of lanes with an open slot, and of lanes that have only spare slots. */
export type Markers = { open: Lane[]; spare: Lane[] };

/** Which runs this worker executes, and which it may still take: of which lanes, and of which tenants. */
export class Slots {
  /** WORKER_CONCURRENCY: how many slots are open, which is what a tenant that is alone may hold. */
  readonly openTotal: number;
  readonly lanes: readonly Lane[];
  readonly laneSettings: LiveLaneSettings;
  readonly #held = new Map<RunId, Held>();
  #stateBytes = 0;
  /** Slots that claims under way may fill. */
  #reserved = 0;
  #freed = Promise.withResolvers<void>();
  #released = Promise.withResolvers<void>();

  constructor(openTotal: number, lanes: readonly Lane[], laneSettings = new LiveLaneSettings()) {
    this.openTotal = openTotal;
    this.lanes = lanes;
    this.laneSettings = laneSettings;
    laneSettings.onChange(() => this.wakeWaiting());
  }

  get active(): number {
    return this.#held.size;
  }

  /** How many slots there are, open and spare ones: the most runs that this worker executes. */
  get total(): number {
    return ALL_SLOTS * this.openTotal;
  }

  /** Slots that a claim may ask for now, open and spare ones. */
  get free(): number {
    return this.total - this.#held.size - this.#reserved;
  }

  /** Resolves when a slot or a reservation is freed next. */
  get freed(): Promise<void> {
    return this.#freed.promise;
  }

  /** Resolves when a run releases its slot next: a tenant that was at its share may have room then. */
  get released(): Promise<void> {
    return this.#released.promise;
  }

  take(run: RunId, tenant: TenantId, lane: Lane): void {
    this.#held.set(run, { tenant, lane, stateBytes: 0 });
  }

  /** Records the size of a held run's state. */
  holdState(run: RunId, bytes: number): void {
    const held = this.#held.get(run);
    if (!held) return;
    this.#stateBytes += bytes - held.stateBytes;
    held.stateBytes = bytes;
  }

  release(run: RunId): void {
    this.holdState(run, 0);
    this.#held.delete(run);
    this.wakeWaiting();
  }

  /** The claim loops of other shards do not count these slots as free until `unreserve`. */
  reserve(count: number): void {
    this.#reserved += count;
  }

  unreserve(count: number): void {
    this.#reserved -= count;
    this.#wakeFreed();
  }

  /** Resolves `freed` and `released`: a claim loop that waits for a slot looks again. */
  wakeWaiting(): void {
    this.#wakeFreed();
    this.#released.resolve();
    this.#released = Promise.withResolvers<void>();
  }

  #wakeFreed(): void {
    this.#freed.resolve();
    this.#freed = Promise.withResolvers<void>();
  }

  /** What a claim may take now. */
  room(): Required<Room> {
    const slots = this.free;
    const open = this.#hasMuchState ? 0 : Math.max(0, slots - (this.total - this.openTotal));
    const openLanes: LaneSlots = {};
    const lanes: LaneSlots = {};
    for (const lane of this.lanes) [openLanes[lane], lanes[lane]] = this.#slotsOf(lane);
    for (const { lane } of this.#held.values()) {
      openLanes[lane] = (openLanes[lane] ?? 0) - 1;
      lanes[lane] = (lanes[lane] ?? 0) - 1;
    }
    const rules = Object.fromEntries(RunLane.options.map((lane) => [lane, this.laneSettings.of(lane)]));
    const shares = { open, openLanes, held: this.#heldRuns() };
    return { slots, lanes, shares, rules };
  }

  /** The markers to wait for. Those of lanes that are full here are left out: they are for other workers. */
  markers(): Markers {
    const { slots, lanes, shares } = this.room();
    const isOpen = (lane: Lane): boolean => shares.open > 0 && (shares.openLanes[lane] ?? 0) > 0;
    const hasRoom = (lane: Lane): boolean => slots > 0 && (lanes[lane] ?? 0) > 0;
    return {
      open: this.lanes.filter(isOpen),
      spare: this.lanes.filter((lane) => hasRoom(lane) && !isOpen(lane)),
    };
  }

  /**
   * How many slots of the worker a lane may hold: open ones, and all of them. A number that an operator has set is the most, for any
   * tenant. Otherwise each open slot has a spare one beside it, as in the whole worker; the only lane of a worker has all slots.
   */
  #slotsOf(lane: Lane): [open: number, all: number] {
    const { slots } = this.laneSettings.of(lane);
    // In the lanes of mails and deliveries the number is that of their senders.
    if (slots !== null && isRunLane(lane)) return [slots, slots];
    const share = this.lanes.length === 1 ? 1 : LANE_SHARES[lane];
    const open = Math.max(1, Math.floor(this.openTotal * share));
    return [open, ALL_SLOTS * open];
  }

  get #hasMuchState(): boolean {
    return this.#stateBytes >= STATE_BYTES / 2;
  }

  /** A tenant whose runs hold more state than its share counts as one that holds all slots: it may take none. */
  #heldRuns(): HeldRuns[] {
    const byTenant = Map.groupBy(this.#held.values(), ({ tenant }) => tenant);
    return Array.from(byTenant).flatMap(([tenant, runs]) => {
      const stateBytes = runs.reduce((sum, run) => sum + run.stateBytes, 0);
      const isAtShare = this.#hasMuchState && stateBytes >= STATE_BYTES - this.#stateBytes;
      const byLane = Map.groupBy(runs, ({ lane }) => lane);
      return Array.from(byLane, ([lane, { length }]) => ({
        tenant,
        lane,
        count: isAtShare ? this.total : length,
      }));
    });
  }
}
