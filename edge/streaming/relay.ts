import type { RunId } from "../../shared/contracts/ids.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { VIEWER_AWAY_CHECK_MS, VIEWER_CHECK_MS } from "../../shared/timing.ts";
import { log } from "../../shared/log.ts";
import { SseWriter, toBytes } from "./sse-writer.ts";
import { Viewer } from "./viewer.ts";
import type { Position, Send } from "./viewer.ts";

/** Reads the events of runs from Postgres. */
export type JournalReader = {
  /** A page of the entries that hold events after number `after`, in order; empty: there are none. */
  page(run: RunId, after: number): Promise<EntryLines[]>;
  positions(runs: RunId[]): Promise<Map<RunId, Position>>;
};

export type RelayTiming = { tickMs: number; keepaliveMs: number; checkMs: number; awayCheckMs: number };

export const RELAY_TIMING: RelayTiming = {
  tickMs: 1_000,
  keepaliveMs: VIEWER_CHECK_MS,
  checkMs: VIEWER_CHECK_MS,
  awayCheckMs: VIEWER_AWAY_CHECK_MS,
};

/** A page that a viewer does not take within this time is dropped, and read again when the viewer takes bytes again. */
const PAGE_HELD_MS = 250;

/** One viewer and the stream to it. `checkedAtMs`: when its position was last compared with Postgres. */
type Subscription = { viewer: Viewer; writer: SseWriter; sentAtMs: number; checkedAtMs: number };

/**
 * Sends the events of a shard's runs to their viewers: live entries from the live feed, everything else from the
 * journal.
 *
 * `Viewer` decides what to send; this class has the effects: reads, writes and timers. Its memory may be lost at any
 * time: viewers reconnect with the id of their last event.
 */
export class Relay {
  readonly #subscriptions = new Map<RunId, Set<Subscription>>();
  /** The subscriptions whose pages are being read. */
  readonly #reading = new WeakSet<Subscription>();
  readonly #journal: JournalReader;
  readonly #timing: RelayTiming;
  #viewers = 0;
  /** The last read of Postgres failed: viewers are checked often. */
  #readFailed = false;

  constructor(journal: JournalReader, timing: RelayTiming = RELAY_TIMING) {
    this.#journal = journal;
    this.#timing = timing;
  }

  get viewers(): number {
    return this.#viewers;
  }

  /**
   * Adds a viewer that has the events of `run` up to number `after`. `onClosed` is called when its stream has
   * ended.
   */
  join(run: RunId, after: number, signal: AbortSignal, onClosed: () => void): ReadableStream<Uint8Array> {
    const viewer = new Viewer(run, after);
    const writer = new SseWriter(() => {
      viewer.leave();
      this.#remove(subscription);
      onClosed();
    });
    const nowMs = performance.now();
    const subscription: Subscription = { viewer, writer, sentAtMs: nowMs, checkedAtMs: nowMs };
    this.#viewers += 1;
    // Before the first page is requested: an entry that is committed after that page is then received live.
    this.#subscriptionsOf(run).add(subscription);
    writer.closeOn(signal);
    void this.#read(subscription);
    return writer.body;
  }

  /** Sends a live entry to the viewers of its run. None waits for another: a slow one reads the journal instead. */
  onEntry(entry: LiveEntry): void {
    const encoded = new Map<number, Uint8Array>();
    for (const subscription of this.#subscriptions.get(entry.run) ?? []) {
      if (subscription.writer.isBehind) subscription.viewer.fallBehind();
      const send = subscription.viewer.receive(entry);
      if (send) this.#sendLive(subscription, send, encoded);
      else if (subscription.viewer.mode === "reading") this.#startReading(subscription);
    }
  }

  /** Compares all viewers with Postgres, because live entries may have been missed. */
  resync(): void {
    const all = this.#all();
    for (const { viewer } of all) viewer.resync();
    void this.#check(all);
  }

  /**
   * Sends comment lines and checks viewers that are due. The relay object calls it every `tickMs`.
   * @param following whether the live feed receives entries now
   */
  tick(following: boolean): void {
    const nowMs = performance.now();
    const checkMs = following && !this.#readFailed ? this.#timing.checkMs : this.#timing.awayCheckMs;
    const due: Subscription[] = [];
    for (const subscription of this.#all()) {
      if (nowMs - subscription.checkedAtMs >= checkMs) due.push(subscription);
      if (nowMs - subscription.sentAtMs < this.#timing.keepaliveMs) continue;
      subscription.sentAtMs = nowMs;
      subscription.writer.keepAlive();
    }
    void this.#check(due);
  }

  closeAll(): void {
    for (const { writer } of this.#all()) writer.close();
  }

  /** Reads the positions of live viewers' runs in one query; a viewer that is behind reads the journal again. */
  async #check(subscriptions: readonly Subscription[]): Promise<void> {
    const live = subscriptions.filter(({ viewer }) => viewer.mode === "live");
    for (const subscription of subscriptions) subscription.checkedAtMs = performance.now();
    if (live.length === 0) return;
    try {
      const positions = await this.#journal.positions([...new Set(live.map(({ viewer }) => viewer.run))]);
      this.#readFailed = false;
      for (const subscription of live) {
        const { viewer } = subscription;
        viewer.check(positions.get(viewer.run));
        if (viewer.mode === "reading") this.#startReading(subscription);
      }
    } catch (error) {
      this.#onReadFailed(error);
    }
  }

  #startReading(subscription: Subscription): void {
    if (!this.#reading.has(subscription)) void this.#read(subscription);
  }

  /** Reads pages for one viewer, at its pace, until it is live or ended. */
  async #read(subscription: Subscription): Promise<void> {
    const { viewer, writer } = subscription;
    this.#reading.add(subscription);
    try {
      while (viewer.mode === "reading" && writer.isOpen) {
        // A viewer that takes nothing has no page in memory, only its unsent bytes.
        await writer.room();
        if (!writer.isOpen) break;
        viewer.startPage();
        const page = await this.#journal.page(viewer.run, viewer.next - 1);
        if (page.length === 0) {
          viewer.caughtUp((await this.#journal.positions([viewer.run])).get(viewer.run));
        }
        for (const entry of page) {
          if (!(await writer.roomWithin(PAGE_HELD_MS)) || !writer.isOpen) break;
          writer.send(toBytes(viewer.run, viewer.readEntry(entry)));
          subscription.sentAtMs = performance.now();
        }
      }
    } catch (error) {
      viewer.pageFailed();
      this.#onReadFailed(error);
    } finally {
      this.#reading.delete(subscription);
    }
    if (viewer.mode === "ended") writer.close();
    // A live entry that came after the loop's last test may have left a gap.
    else if (viewer.mode === "reading" && writer.isOpen) this.#startReading(subscription);
  }

  /**
   * @param encoded the bytes of this entry by their first event's number, so that they are encoded once for all
   * viewers
   */
  #sendLive(subscription: Subscription, send: Send, encoded: Map<number, Uint8Array>): void {
    const { viewer, writer } = subscription;
    const bytes = encoded.get(send.from) ?? toBytes(viewer.run, send);
    encoded.set(send.from, bytes);
    writer.send(bytes);
    subscription.sentAtMs = subscription.checkedAtMs = performance.now();
    if (viewer.mode === "ended") writer.close();
  }

  #onReadFailed(error: unknown): void {
    if (!this.#readFailed)
      log.error("relay.read_failed", { error: error instanceof Error ? error.message : "unknown" });
    this.#readFailed = true;
  }

  #subscriptionsOf(run: RunId): Set<Subscription> {
    const subscriptions = this.#subscriptions.get(run) ?? new Set();
    this.#subscriptions.set(run, subscriptions);
    return subscriptions;
  }

  #all(): Subscription[] {
    return Array.from(this.#subscriptions.values(), (subscriptions) => [...subscriptions]).flat();
  }

  #remove(subscription: Subscription): void {
    const subscriptions = this.#subscriptions.get(subscription.viewer.run);
    if (!subscriptions?.delete(subscription)) return;
    this.#viewers -= 1;
    if (subscriptions.size === 0) this.#subscriptions.delete(subscription.viewer.run);
  }
}
