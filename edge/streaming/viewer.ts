import type { RunId } from "../../shared/contracts/ids.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { RunStatus } from "../../shared/contracts/run.ts";
import type { EntryLines } from "../../shared/events/lines.ts";
import type { LiveEntry } from "../../shared/events/live.ts";

/** The status of a run and the number of its last event, read from Postgres. */
export type Position = { event_seq: number; status: RunStatus };

/** What to send: the entry's events from number `from` on. */
export type Send = { entry: EntryLines; from: number };

/**
 * Decides which events one viewer of one run gets next: docs/protocol.md 9. It does no I/O.
 *
 * - `reading`: the relay reads pages of the journal and sends them. When a page is empty and no live entry was
 *   received since the page was requested, the viewer becomes `live`.
 * - `live`: live entries are sent as they are received. An entry that leaves a gap makes the viewer `reading`.
 * - `ended`: nothing more is sent.
 *
 * No entry is buffered and nothing is merged: a live entry that is received while reading only means that the
 * relay reads one more page.
 */
export class Viewer {
  readonly run: RunId;
  #next: number;
  #mode: "reading" | "live" | "ended" = "reading";
  /** Live entries were received, or may have been missed, since the last page was requested. */
  #pageIsStale = false;

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

  /** Call before a page from `next` on is requested. */
  startPage(): void {
    this.#pageIsStale = false;
  }

  /** Call it when the events of this entry of a page, from `next` on, have been sent. The viewer stays `reading`. */
  entrySent(entry: EntryLines): void {
    this.#next = entry.seq + 1;
  }

  /** Call it when a page was empty. @param position read after the page; undefined: the run no longer exists */
  caughtUp(position: Position | undefined): void {
    if (position === undefined) this.#mode = "ended";
    else if (position.event_seq >= this.#next) return;
    else if (TERMINAL.has(position.status)) this.#mode = "ended";
    else if (!this.#pageIsStale) this.#mode = "live";
  }

  /**
   * Call it when a page could not be read. The viewer becomes `live` although it is behind, so that the next live entry or the next
   * check makes it `reading` again.
   */
  pageFailed(): void {
    if (this.#mode === "reading") this.#mode = "live";
  }

  /** Takes a live entry and returns what to send of it; null: nothing. */
  receive(entry: LiveEntry): Send | null {
    if (entry.seq < this.#next || this.#mode === "ended") return null;
    if (this.#mode === "reading") {
      this.#pageIsStale = true;
      return null;
    }
    if (entry.seq - entry.events_n + 1 > this.#next) {
      this.#mode = "reading";
      return null;
    }
    const send = { entry, from: this.#next };
    this.#next = entry.seq + 1;
    // Only a live `last` ends the stream: a `done` that is read from the journal may lie before a client's retry.
    if (entry.last) this.#mode = "ended";
    return send;
  }

  /** Call it when live entries come faster than the viewer takes them: it then reads them from the journal, at its own pace. */
  fallBehind(): void {
    if (this.#mode === "live") this.#mode = "reading";
  }

  /** Call it when live entries may have been missed until now: another page has to follow the page that is being read. */
  resync(): void {
    this.#pageIsStale = true;
  }

  /** Compares a `live` viewer with the run's position: a viewer that is behind becomes `reading`. */
  check(position: Position | undefined): void {
    if (this.#mode !== "live") return;
    const behind = position !== undefined && position.event_seq >= this.#next;
    if (behind || position === undefined || TERMINAL.has(position.status)) this.#mode = "reading";
  }

  leave(): void {
    this.#mode = "ended";
  }
}
