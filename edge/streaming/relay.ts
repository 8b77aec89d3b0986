import type { RunId } from "../../shared/contracts/ids.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { log } from "../log.ts";
import { SseWriter } from "./sse-writer.ts";
import { toBytes } from "./sse.ts";
import { Viewer } from "./viewer.ts";
import type { Position, Send } from "./viewer.ts";

/** Where the events of runs are read from. */
export type JournalReader = {
  /** Entries that hold events after number `after`, in order; empty: there are none. */
  page(run: RunId, after: number): Promise<EntryLines[]>;
  positions(runs: RunId[]): Promise<Map<RunId, Position>>;
};

export type RelayTiming = { tickMs: number; keepaliveMs: number; checkMs: number; awayCheckMs: number };

export const RELAY_TIMING: RelayTiming = { tickMs: 1_000, keepaliveMs: 15_000, checkMs: 15_000, awayCheckMs: 2_000 };

type Subscription = { viewer: Viewer; outlet: SseWriter; sentAtMs: number; checkedAtMs: number };

/**
 * The viewers of a shard's runs. It holds nothing that matters: all of it can vanish, and viewers come back with the
 * id of their last event. The order of things is in `Viewer`; here are its effects.
 */
export class Relay {
  readonly #seats = new Map<RunId, Set<Subscription>>();
  readonly #journal: JournalReader;
  readonly #timing: RelayTiming;
  #viewers = 0;
  /** Nothing comes live, or a page could not be read: viewers are checked often. */
  #troubled = false;

  constructor(journal: JournalReader, timing: RelayTiming = RELAY_TIMING) {
    this.#journal = journal;
    this.#timing = timing;
  }

  get viewers(): number {
    return this.#viewers;
  }

  /** Seats a viewer that has the events of `run` up to number `after`. `left` is called when it has gone. */
  join(run: RunId, after: number, signal: AbortSignal, left: () => void): ReadableStream<Uint8Array> {
    const viewer = new Viewer(run, after);
    const outlet = new SseWriter(() => {
      viewer.leave();
      this.#drop(seat);
      left();
    });
    const nowMs = performance.now();
    const seat: Subscription = { viewer, outlet, sentAtMs: nowMs, checkedAtMs: nowMs };
    this.#viewers += 1;
    // Seated before the first page is asked for: what is committed after that page is heard.
    this.#seatsOf(run).add(seat);
    outlet.closeOn(signal);
    void this.#read(seat);
    return outlet.body;
  }

  /** An entry came live. */
  onEntry(entry: LiveEntry): void {
    const bytes = new Map<number, Uint8Array>();
    for (const seat of this.#seats.get(entry.run) ?? []) {
      const send = seat.viewer.receive(entry);
      if (send) this.#send(seat, send, bytes);
      else if (seat.viewer.mode === "reading") this.#wake(seat);
    }
  }

  /** Entries may have been missed. */
  resync(): void {
    for (const seat of this.#all()) seat.viewer.resync();
    void this.#check(this.#all());
  }

  /** To be called every `tickMs` while there are viewers. `following`: live entries do come. */
  tick(following: boolean): void {
    const nowMs = performance.now();
    const checkMs = following && !this.#troubled ? this.#timing.checkMs : this.#timing.awayCheckMs;
    const due: Subscription[] = [];
    for (const seat of this.#all()) {
      if (nowMs - seat.checkedAtMs >= checkMs) due.push(seat);
      if (nowMs - seat.sentAtMs < this.#timing.keepaliveMs) continue;
      seat.sentAtMs = nowMs;
      seat.outlet.keepAlive();
    }
    void this.#check(due);
  }

  closeAll(): void {
    for (const seat of this.#all()) seat.outlet.close();
  }

  /** Asks Postgres, once for all of them, whether viewers who heard nothing have missed something. */
  async #check(seats: readonly Subscription[]): Promise<void> {
    const live = seats.filter((seat) => seat.viewer.mode === "live");
    for (const seat of seats) seat.checkedAtMs = performance.now();
    if (live.length === 0) return;
    try {
      const positions = await this.#journal.positions([...new Set(live.map((seat) => seat.viewer.run))]);
      this.#troubled = false;
      for (const seat of live) {
        seat.viewer.check(positions.get(seat.viewer.run));
        if (seat.viewer.mode === "reading") this.#wake(seat);
      }
    } catch (error) {
      this.#trouble(error);
    }
  }

  readonly #readers = new WeakSet<Subscription>();

  #wake(seat: Subscription): void {
    if (!this.#readers.has(seat)) void this.#read(seat);
  }

  /** Reads pages for one viewer, at its pace, until it is live or at its end. */
  async #read(seat: Subscription): Promise<void> {
    const { viewer, outlet } = seat;
    this.#readers.add(seat);
    try {
      while (viewer.mode === "reading" && outlet.isOpen) {
        viewer.startPage();
        const page = await this.#journal.page(viewer.run, viewer.next - 1);
        if (page.length === 0) {
          viewer.caughtUp((await this.#journal.positions([viewer.run])).get(viewer.run));
        }
        for (const send of viewer.readPage(page)) {
          if (!outlet.isOpen) break;
          await outlet.sendPaced(toBytes(viewer.run, send));
          seat.sentAtMs = performance.now();
        }
      }
    } catch (error) {
      viewer.pageFailed();
      this.#trouble(error);
    } finally {
      this.#readers.delete(seat);
    }
    if (viewer.mode === "ended") outlet.close();
    // What was heard between the loop's last look and here.
    else if (viewer.mode === "reading" && outlet.isOpen) this.#wake(seat);
  }

  #send(seat: Subscription, send: Send, made: Map<number, Uint8Array>): void {
    const bytes = made.get(send.from) ?? toBytes(seat.viewer.run, send);
    made.set(send.from, bytes);
    seat.outlet.send(bytes);
    seat.sentAtMs = seat.checkedAtMs = performance.now();
    if (seat.viewer.mode === "ended") seat.outlet.close();
  }

  #trouble(error: unknown): void {
    if (!this.#troubled)
      log.error("relay.read_failed", { error: error instanceof Error ? error.message : "unknown" });
    this.#troubled = true;
  }

  #seatsOf(run: RunId): Set<Subscription> {
    const seats = this.#seats.get(run) ?? new Set();
    this.#seats.set(run, seats);
    return seats;
  }

  #all(): Subscription[] {
    return Array.from(this.#seats.values(), (seats) => [...seats]).flat();
  }

  #drop(seat: Subscription): void {
    const seats = this.#seats.get(seat.viewer.run);
    if (!seats?.delete(seat)) return;
    this.#viewers -= 1;
    if (seats.size === 0) this.#seats.delete(seat.viewer.run);
  }
}
