import { eventJson, linesOf } from "../../shared/events/lines.ts";
import type { TimedEntry } from "../../shared/store/journal/read-journal.ts";
import { isDatabaseUnreachable } from "../../shared/store/unreachable.ts";
import { LATE_COMMIT_MS, SCAN_OVERLAP_MS } from "../../shared/timing.ts";
import { log } from "../../shared/log.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { FeedLog } from "./feed-log.ts";
import { FeedReads } from "./feed-reads.ts";
import type { FeedReader } from "./feed-reads.ts";
import { pause } from "../http/pause.ts";
import { SseWriter } from "./sse-writer.ts";

/** Times of this file are microseconds of Postgres' clock. */
const MS = 1_000;

/** An entry becomes visible at most this long after its time, because its commit may be late. So every query reads this much again. */
const REREAD_US = LATE_COMMIT_MS * MS;

/** A viewer that reconnects starts this long before its id: it gets the entries that appeared late, and some events again. */
const OVERLAP_US = SCAN_OVERLAP_MS * MS;

/** The bytes of entries that the feed keeps for viewers, which take them at their own pace. */
const LOG_BYTES = 4 * 1024 * 1024;

/** After a page the feed waits this long for viewers that have not taken it, so that a burst cuts no viewer off. */
const BURST_PAUSE_MS = 200;

const encoder = new TextEncoder();

export type FeedTiming = { pollMs: number; keepaliveMs: number };
const FEED_TIMING: FeedTiming = { pollMs: 1_000, keepaliveMs: 15_000 };

type FeedViewer = {
  writer: SseWriter;
  /** The place in the log of the next entry to send. */
  place: number;
  /** The viewer has caught up, and gets entries from the log. */
  isLive: boolean;
  /** The times of entries that were sent while it caught up and that the log may hold too, by the entries' names. */
  sent: Map<string, number>;
  sentAtMs: number;
  /** Ends the viewer's wait for the next entry. */
  wake: () => void;
};

/**
 * Sends the events of all runs of a tenant, or of all tenants, to all viewers of that feed: one poll finds new entries, and each
 * viewer takes them from a common log at its own pace. Within one stream no event comes twice.
 *
 * A viewer that reconnects first catches up from its id on. When Postgres is unreachable all streams end, and the viewers reconnect.
 */
export class TenantFeed {
  readonly #reads: FeedReads;
  readonly #timing: FeedTiming;
  readonly #viewers = new Set<FeedViewer>();
  readonly #log = new FeedLog(LOG_BYTES);
  /** The times of entries in the log that will be read again, by name. */
  readonly #found = new Map<string, number>();
  /**
   * The time up to which the feed has read. An entry with an earlier time is from before the feed began, or is in the log before the
   * place `#readTo`, or appears late: then it will be in the log at that place or after it.
   */
  #readToUs: number;
  #readTo = 0;
  readonly #stopping = new AbortController();
  /** Resolves when the feed knows the entries that were there before it began. */
  #begun: Promise<void> | null = null;

  /** @param nowUs the time of Postgres' clock: the feed begins here */
  constructor(reader: FeedReader, nowUs: number, timing: FeedTiming = FEED_TIMING) {
    this.#reads = new FeedReads(reader, this.#stopping.signal);
    this.#timing = timing;
    this.#readToUs = nowUs;
  }

  /**
   * Adds a viewer. It gets the events from now on, or from 15 s before `lastUs` on. `onClosed` is called when its stream has ended. The
   * feed reads Postgres until its last viewer has left, and cannot be used again after that.
   */
  join(lastUs: number | null, signal: AbortSignal, onClosed: () => void): SseWriter {
    const writer = new SseWriter(() => {
      this.#viewers.delete(viewer);
      viewer.wake();
      if (this.#viewers.size === 0) this.#stopping.abort();
      onClosed();
    });
    const viewer: FeedViewer = {
      writer,
      place: this.#log.end,
      isLive: false,
      sent: new Map(),
      sentAtMs: elapsedMs(),
      wake: () => {},
    };
    this.#viewers.add(viewer);
    this.#begun ??= this.#begin();
    const fromUs = lastUs === null ? null : Math.min(lastUs - OVERLAP_US, this.#readToUs);
    // An id without data: a viewer that is cut off before the first event resumes from this id.
    writer.send(encoder.encode(`id: ${fromUs ?? this.#readToUs}\n\n`));
    writer.closeOn(signal);
    void this.#serve(viewer, fromUs);
    return writer;
  }

  /** Remembers the entries that are there already, and then finds new ones, until the last viewer has left. */
  async #begin(): Promise<void> {
    try {
      await this.#readForAll(this.#readToUs, async (page) => {
        for (const entry of page) this.#found.set(nameOf(entry), entry.at_us);
      });
      void this.#poll(this.#stopping.signal);
    } catch (error) {
      this.#end(error);
    }
  }

  async #poll(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        const nowUs = await this.#reads.clock();
        await this.#readForAll(nowUs, (page) => this.#publish(page));
        this.#readToUs = nowUs;
        this.#readTo = this.#log.end;
        this.#forgetBefore(nowUs - REREAD_US);
        this.#keepAlive();
        await pause(this.#timing.pollMs, signal);
      }
    } catch (error) {
      this.#end(error);
    }
  }

  /** Reads the entries up to a time, with those that may have appeared late. */
  #readForAll(toUs: number, take: (page: readonly TimedEntry[]) => Promise<void>): Promise<void> {
    const isOpen = () => this.#viewers.size > 0;
    return this.#reads.now({ fromUs: this.#readToUs - REREAD_US, toUs, isOpen, take });
  }

  /** Forgets the names of entries that will not be read again. */
  #forgetBefore(us: number): void {
    for (const [name, atUs] of this.#found) if (atUs < us) this.#found.delete(name);
    for (const { isLive, place, sent } of this.#viewers) {
      if (!isLive || place < this.#log.end) continue;
      for (const [name, atUs] of sent) if (atUs < us) sent.delete(name);
    }
  }

  async #publish(page: readonly TimedEntry[]): Promise<void> {
    for (const entry of page) {
      if (this.#found.has(nameOf(entry))) continue;
      this.#found.set(nameOf(entry), entry.at_us);
      this.#log.add(entry);
    }
    for (const { wake } of this.#viewers) wake();
    await pause(0, this.#stopping.signal);
    const isBehind = [...this.#viewers].some(({ isLive, place }) => isLive && place < this.#log.end);
    if (isBehind) await pause(BURST_PAUSE_MS, this.#stopping.signal);
  }

  /** Sends a viewer what it missed, then what the log has, until it leaves. */
  async #serve(viewer: FeedViewer, fromUs: number | null): Promise<void> {
    const { writer } = viewer;
    try {
      if (fromUs !== null) await this.#catchUp(viewer, fromUs);
      viewer.isLive = true;
      // A slow viewer whose next entry the log has dropped is cut off. It catches up when it reconnects.
      while (writer.isOpen && viewer.place >= this.#log.first) {
        const entry = this.#log.at(viewer.place);
        if (entry === undefined) {
          await new Promise<void>((resolve) => (viewer.wake = resolve));
          continue;
        }
        if (!viewer.sent.has(nameOf(entry))) await send(viewer, entry);
        viewer.place += 1;
      }
    } catch (error) {
      this.#end(error);
    }
    writer.close();
  }

  /** Sends all entries from a time on, up to a place in the log. It repeats this while the log has dropped that place meanwhile. */
  async #catchUp(viewer: FeedViewer, fromUs: number): Promise<void> {
    await this.#begun;
    do {
      const untilUs = this.#readToUs;
      const rereadFromUs = untilUs - REREAD_US;
      viewer.place = this.#readTo;
      await this.#reads.inTurn({
        fromUs,
        toUs: untilUs,
        isOpen: () => viewer.writer.isOpen,
        take: async (page) => {
          for (const entry of page) {
            if (!viewer.writer.isOpen || viewer.sent.has(nameOf(entry))) continue;
            if (entry.at_us >= rereadFromUs) viewer.sent.set(nameOf(entry), entry.at_us);
            await send(viewer, entry);
          }
        },
      });
      for (const [name, atUs] of viewer.sent) if (atUs < rereadFromUs) viewer.sent.delete(name);
      fromUs = rereadFromUs;
    } while (viewer.writer.isOpen && viewer.place < this.#log.first);
  }

  /** Sends comment lines. They have an id, so that a viewer that reconnects to a quiet feed does not read the quiet time again. */
  #keepAlive(): void {
    for (const viewer of this.#viewers) {
      if (elapsedMs() - viewer.sentAtMs < this.#timing.keepaliveMs) continue;
      const hasAll = viewer.isLive && viewer.place === this.#log.end;
      const id = hasAll ? `id: ${this.#readToUs}\n` : "";
      viewer.sentAtMs = elapsedMs();
      viewer.writer.send(encoder.encode(`: keepalive\n${id}\n`));
    }
  }

  #end(error: unknown): void {
    if (!isDatabaseUnreachable(error)) log.error("feed.failed", { error: String(error) });
    for (const { writer } of this.#viewers) writer.close();
  }
}

async function send(viewer: FeedViewer, entry: TimedEntry): Promise<void> {
  await viewer.writer.sendPaced(encoder.encode(framesOf(entry)));
  viewer.sentAtMs = elapsedMs();
}

function nameOf({ run_id, seq }: TimedEntry): string {
  return `${run_id}.${seq}`;
}

/** The frames of an entry as in its run's own stream, except for the id, which is the time of the entry. */
function framesOf({ run_id, seq, events_n, events, at_us }: TimedEntry): string {
  return linesOf(events)
    .map((line, i) => `id: ${at_us}\ndata: ${eventJson(run_id, seq - events_n + 1 + i, line)}\n\n`)
    .join("");
}
