import type { RunId } from "../../shared/contracts/ids.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";

/** How far Postgres says that a run has come. */
export type Position = { event_seq: number; status: RunStatus };

/** Send the entry's events from number `from` on. */
export type Send = { entry: EntryLines; from: number };

/**
 * What one viewer of one run gets next: docs/protocol.md 9, without any I/O.
 *
 * `reading`: pages of the journal are sent until one is empty and nothing was heard while it was asked for; then
 * `live`: entries are sent as they come, and one that does not fit (a gap) leads back to reading. Nothing is buffered
 * or merged: an entry heard while reading only means that there is one more page to read.
 */
export class Viewer {
  readonly run: RunId;
  #next: number;
  #mode: "reading" | "live" | "ended" = "reading";
  #heard = false;

  /** @param after the number of the last event that the viewer has; 0: none */
  constructor(run: RunId, after: number) {
    this.run = run;
    this.#next = after + 1;
  }

  /** The number of the next event to send. */
  get next(): number {
    return this.#next;
  }

  get mode(): "reading" | "live" | "ended" {
    return this.#mode;
  }

  /** A page from `next` on is about to be asked for. */
  startPage(): void {
    this.#heard = false;
  }

  /** What a page that is not empty brought, in order. The viewer goes on reading. */
  readPage(page: readonly EntryLines[]): Send[] {
    const sends: Send[] = [];
    for (const entry of page) {
      sends.push({ entry, from: this.#next });
      this.#next = entry.seq + 1;
    }
    return sends;
  }

  /** The page was empty. `position` was read after it; undefined: there is no such run any more. */
  caughtUp(position: Position | undefined): void {
    if (position === undefined) this.#mode = "ended";
    else if (position.event_seq >= this.#next) return;
    else if (TERMINAL.has(position.status)) this.#mode = "ended";
    else if (!this.#heard) this.#mode = "live";
  }

  /** The page could not be read: live, and behind, so that the next entry or check leads back to reading. */
  pageFailed(): void {
    if (this.#mode === "reading") this.#mode = "live";
  }

  /** An entry came live; answers what to send of it. */
  receive(entry: LiveEntry): Send | null {
    if (entry.seq < this.#next || this.#mode === "ended") return null;
    if (this.#mode === "reading") {
      this.#heard = true;
      return null;
    }
    if (entry.seq - entry.events_n + 1 > this.#next) {
      this.#mode = "reading";
      return null;
    }
    const send = { entry, from: this.#next };
    this.#next = entry.seq + 1;
    // `last` is of the entry itself: a `done` before a retry, read again from the journal, ends nothing.
    if (entry.last) this.#mode = "ended";
    return send;
  }

  /** Entries may have been missed up to now: a page that is being read is not the last one. */
  resync(): void {
    this.#heard = true;
  }

  /** Postgres was asked how far the run is, because nothing was heard of it. */
  check(position: Position | undefined): void {
    if (this.#mode !== "live") return;
    const behind = position !== undefined && position.event_seq >= this.#next;
    if (behind || position === undefined || TERMINAL.has(position.status)) this.#mode = "reading";
  }

  leave(): void {
    this.#mode = "ended";
  }
}
