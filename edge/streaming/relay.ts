import type { RunId } from "../../shared/contracts/ids.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { VIEWER_AWAY_CHECK_MS, VIEWER_CHECK_MS } from "../../shared/timing.ts";
import { log } from "../../shared/log.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { SseWriter, liveAheadBytes, toBytes } from "./sse-writer.ts";
import { Viewer } from "./viewer.ts";
import type { Position, Send } from "./viewer.ts";

/** Reads the events of runs from Postgres. A read for one viewer takes a turn of the tenant that the run belongs to. */
export type JournalReader = {
  /** A page of the entries that hold events after number `after`, in order; empty: there are none. */
  page(run: RunId, after: number, tenant: string): Promise<EntryLines[]>;
  /** `tenant` absent: the runs of all tenants, in one read. */
  positions(runs: RunId[], tenant?: string): Promise<Map<RunId, Position>>;
};

/** A viewer of `run`, which belongs to `tenant`. It has the events up to number `after`. */
type Joining = { run: RunId; tenant: string; after: number };

export type RelayTiming = { tickMs: number; keepaliveMs: number; checkMs: number; awayCheckMs: number };

export const RELAY_TIMING: RelayTiming = {
  tickMs: 1_000,
  keepaliveMs: VIEWER_CHECK_MS,
  checkMs: VIEWER_CHECK_MS,
  awayCheckMs: VIEWER_AWAY_CHECK_MS,
};

/** A page that a viewer does not take within this time is dropped, and read again when the viewer takes bytes again. */
const PAGE_HELD_MS = 250;

/**
 * One viewer and the stream to it. `checkedAtMs`: the time of the last comparison of its position with Postgres. `begunBytes`: the
 * bytes of the entry at its position that were sent; while they are more than 0, only the rest of that entry may be sent.
 */
type Subscription = {
  viewer: Viewer;
  tenant: string;
  writer: SseWriter;
  sentAtMs: number;
  checkedAtMs: number;
  begunBytes: number;
};

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
  readonly #onMissed: () => void;
  #viewers = 0;
  /** The viewers whose last read of Postgres failed: they are checked more often than others. */
  readonly #failed = new Set<Subscription>();

  /** @param onMissed is called when a viewer that received nothing is behind its run: its live entry did not come */
  constructor(journal: JournalReader, timing: RelayTiming = RELAY_TIMING, onMissed: () => void = () => {}) {
    this.#journal = journal;
    this.#timing = timing;
    this.#onMissed = onMissed;
  }

  get viewers(): number {
    return this.#viewers;
  }

  /** Adds a viewer. `onClosed` is called when its stream has ended. @returns the viewer's stream */
  join({ run, tenant, after }: Joining, signal: AbortSignal, onClosed: () => void): SseWriter {
    const viewer = new Viewer(run, after);
    const writer = new SseWriter(() => {
      viewer.leave();
      this.#remove(subscription);
      onClosed();
    });
    const nowMs = elapsedMs();
    const subscription: Subscription = {
      viewer,
      tenant,
      writer,
      sentAtMs: nowMs,
      checkedAtMs: nowMs,
      begunBytes: 0,
    };
    this.#viewers += 1;
    // Before the first page is requested: an entry that is committed after that page is then received live.
    this.#subscriptionsOf(run).add(subscription);
    writer.closeOn(signal);
    void this.#read(subscription);
    return writer;
  }

  /** Sends a live entry to the viewers of its run. No viewer waits for another: a slow viewer reads the journal instead. */
  onEntry(entry: LiveEntry): void {
    const encoded = new Map<number, Uint8Array>();
    const aheadBytes = liveAheadBytes(this.#viewers);
    for (const subscription of this.#subscriptions.get(entry.run) ?? []) {
      const isBehind = subscription.begunBytes > 0 || subscription.writer.isBehind(aheadBytes);
      if (isBehind) subscription.viewer.fallBehind();
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
    const nowMs = elapsedMs();
    const due: Subscription[] = [];
    for (const subscription of this.#all()) {
      const isSafe = following && !this.#failed.has(subscription);
      const checkMs = isSafe ? this.#timing.checkMs : this.#timing.awayCheckMs;
      if (nowMs - subscription.checkedAtMs >= checkMs) due.push(subscription);
      if (nowMs - subscription.sentAtMs < this.#timing.keepaliveMs) continue;
      subscription.sentAtMs = nowMs;
      if (subscription.begunBytes === 0) subscription.writer.keepAlive();
    }
    void this.#check(due, this.#onMissed);
  }

  closeAll(): void {
    for (const { writer } of this.#all()) writer.close();
  }

  /** Reads the positions of live viewers' runs in one query; a viewer that is behind reads the journal again. */
  async #check(subscriptions: readonly Subscription[], onMissed: () => void = () => {}): Promise<void> {
    const live = subscriptions.filter(({ viewer }) => viewer.mode === "live");
    for (const subscription of subscriptions) subscription.checkedAtMs = elapsedMs();
    if (live.length === 0) return;
    try {
      const positions = await this.#journal.positions([...new Set(live.map(({ viewer }) => viewer.run))]);
      for (const subscription of live) {
        const { viewer } = subscription;
        this.#failed.delete(subscription);
        viewer.check(positions.get(viewer.run));
        if (viewer.mode !== "reading") continue;
        this.#startReading(subscription);
        onMissed();
      }
    } catch (error) {
      this.#onReadFailed(live, error);
    }
  }

  #startReading(subscription: Subscription): void {
    if (!this.#reading.has(subscription)) void this.#read(subscription);
  }

  /** Reads pages for one viewer, at its pace, until it is live or ended. */
  async #read(subscription: Subscription): Promise<void> {
    const { viewer, tenant, writer } = subscription;
    this.#reading.add(subscription);
    try {
      while (viewer.mode === "reading" && writer.isOpen) {
        // A viewer that takes nothing has no page in memory, only its unsent bytes.
        await writer.room();
        if (!writer.isOpen) break;
        viewer.startPage();
        const page = await this.#journal.page(viewer.run, viewer.next - 1, tenant);
        if (page.length === 0) {
          viewer.caughtUp((await this.#journal.positions([viewer.run], tenant)).get(viewer.run));
        }
        this.#failed.delete(subscription);
        for (const entry of page) if (!(await this.#sendPaced(subscription, entry))) break;
      }
    } catch (error) {
      viewer.pageFailed();
      this.#onReadFailed([subscription], error);
    } finally {
      this.#reading.delete(subscription);
    }
    if (viewer.mode === "ended") writer.close();
    // A live entry that came after the loop's last test may have left a gap.
    else if (viewer.mode === "reading" && writer.isOpen) this.#startReading(subscription);
  }

  /**
   * Sends an entry of a page in pieces, at the viewer's pace.
   * @returns false when the viewer took no piece in time: the rest follows from a page that is read later, with the same bytes
   */
  async #sendPaced(subscription: Subscription, entry: EntryLines): Promise<boolean> {
    const { viewer, writer } = subscription;
    const bytes = toBytes(viewer.run, { entry, from: viewer.next });
    while (subscription.begunBytes < bytes.length) {
      if (!(await writer.roomWithin(PAGE_HELD_MS)) || !writer.isOpen) return false;
      subscription.begunBytes += writer.sendPiece(bytes, subscription.begunBytes);
      subscription.sentAtMs = elapsedMs();
    }
    subscription.begunBytes = 0;
    viewer.entrySent(entry);
    return true;
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
    subscription.sentAtMs = subscription.checkedAtMs = elapsedMs();
    if (viewer.mode === "ended") writer.close();
  }

  /**
   * Checks the viewers of the failed read more often from now on. One failure is logged; further failures are not, until every
   * viewer's read has succeeded again. A read whose viewers have left is no failure: the connections are closed with the last viewer.
   */
  #onReadFailed(subscriptions: readonly Subscription[], error: unknown): void {
    const watching = subscriptions.filter(({ writer }) => writer.isOpen);
    if (watching.length > 0 && this.#failed.size === 0)
      log.error("relay.read_failed", { error: error instanceof Error ? error.message : "unknown" });
    for (const subscription of watching) this.#failed.add(subscription);
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
    this.#failed.delete(subscription);
    const subscriptions = this.#subscriptions.get(subscription.viewer.run);
    if (!subscriptions?.delete(subscription)) return;
    this.#viewers -= 1;
    if (subscriptions.size === 0) this.#subscriptions.delete(subscription.viewer.run);
  }
}
