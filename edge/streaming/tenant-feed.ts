import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { eventJson } from "../../shared/events/lines.ts";
import { journalClock, readTenantEntries } from "../../shared/store/journal/read-journal.ts";
import type { FeedPlace, TimedEntry } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { LATE_COMMIT_MS, SCAN_OVERLAP_MS } from "../../shared/timing.ts";
import { isDatabaseUnreachable } from "../../shared/store/unreachable.ts";
import { log } from "../../shared/log.ts";
import { SseWriter } from "./sse-writer.ts";
import { SSE_HEADERS } from "./sse.ts";
import { pause } from "./pause.ts";

/** Times of this file are microseconds of Postgres' clock. */
const MS = 1_000;
const SECOND = 1_000 * MS;

/** Entries appear at most this long after their time, so every query reads this much of the past again. */
const REREAD_US = LATE_COMMIT_MS * MS;

/** A viewer that reconnects starts this long before its id: it gets entries that were committed late, and some events twice. */
const OVERLAP_US = SCAN_OVERLAP_MS * MS;

/** An older id is refused: everything since then would be read again. */
const MAX_ID_AGE_US = 24 * 3600 * SECOND;

/** One query covers at most this much time, so that a page from hours ago does not sort all later entries. */
const SLICE_US = 15 * SECOND;

const PAGE = 500;

/** A Postgres without a reply for this long counts as unreachable. */
const QUERY_TIMEOUT_MS = 3_000;

const encoder = new TextEncoder();

export type FeedTiming = { pollMs: number; keepaliveMs: number };

/**
 * Streams the events of all runs of a tenant (null: of all tenants), from now on or from 15 s before `lastId`, until
 * the viewer leaves. Within one stream no event comes twice. The stream ends when Postgres is unreachable, and the
 * viewer reconnects.
 * @throws AppError `bad_event_id`: malformed or older than a day; the driver's errors
 */
export async function openTenantFeed(
  sql: Sql,
  tenant: TenantId | null,
  lastId: string | undefined,
  signal: AbortSignal,
  timing: FeedTiming = { pollMs: 1_000, keepaliveMs: 15_000 },
): Promise<Response> {
  const lastUs = readFeedId(lastId);
  const nowUs = await journalClock(sql);
  if (lastUs !== null && lastUs < nowUs - MAX_ID_AGE_US)
    throw new AppError(
      "bad_event_id",
      "This Last-Event-ID is more than a day old. Open the feed without a Last-Event-ID.",
    );
  const fromUs = lastUs === null ? nowUs : Math.min(lastUs - OVERLAP_US, nowUs);
  const feed = new TenantFeed(sql, tenant, timing);
  return new Response(feed.open(fromUs, signal), { headers: SSE_HEADERS });
}

function readFeedId(id: string | undefined): number | null {
  if (id === undefined || id === "") return null;
  if (!/^[0-9]{1,16}$/.test(id))
    throw new AppError(
      "bad_event_id",
      "Last-Event-ID is not an id of this feed. Send the id of an event that it sent, or none.",
    );
  return Number(id);
}

class TenantFeed {
  readonly #sql: Sql;
  readonly #tenant: TenantId | null;
  readonly #timing: FeedTiming;
  readonly #closed = new AbortController();
  readonly #writer = new SseWriter(() => this.#closed.abort());
  /** The times of sent entries that will be read again, by run and number. */
  readonly #sent = new Map<string, number>();
  #sentAtMs = performance.now();

  constructor(sql: Sql, tenant: TenantId | null, timing: FeedTiming) {
    this.#sql = sql;
    this.#tenant = tenant;
    this.#timing = timing;
  }

  open(fromUs: number, signal: AbortSignal): ReadableStream<Uint8Array> {
    this.#writer.closeOn(signal);
    // An id without data: a viewer that is cut off before the first event resumes from here.
    this.#sendText(`id: ${fromUs}\n\n`);
    void this.#follow(fromUs);
    return this.#writer.body;
  }

  async #follow(fromUs: number): Promise<void> {
    try {
      while (this.#writer.isOpen) {
        const nowUs = await this.#query(journalClock(this.#sql));
        const rereadFromUs = Math.max(fromUs, nowUs - REREAD_US);
        await this.#sendBetween(fromUs, nowUs, rereadFromUs);
        fromUs = rereadFromUs;
        for (const [entry, atUs] of this.#sent) if (atUs < fromUs) this.#sent.delete(entry);
        // With an id, so that a viewer which reconnects to a quiet feed does not read the time without events again.
        if (performance.now() - this.#sentAtMs >= this.#timing.keepaliveMs)
          this.#sendText(`: keepalive\nid: ${nowUs}\n\n`);
        await pause(this.#timing.pollMs, this.#closed.signal);
      }
    } catch (error) {
      if (!isDatabaseUnreachable(error)) log.error("feed.failed", { error: String(error) });
    }
    this.#writer.close();
  }

  /** Sends new entries of a span of time at the viewer's pace, and remembers those after `rereadFromUs`. */
  async #sendBetween(fromUs: number, toUs: number, rereadFromUs: number): Promise<void> {
    let after: FeedPlace | number = fromUs;
    let untilUs = Math.min(fromUs + SLICE_US, toUs);
    while (this.#writer.isOpen) {
      const page: TimedEntry[] = await this.#query(
        readTenantEntries(this.#sql, this.#tenant, after, untilUs, PAGE),
      );
      for (const entry of page) await this.#sendOnce(entry, rereadFromUs);
      const last = page.at(-1);
      if (last && page.length === PAGE) after = last;
      else if (untilUs >= toUs) return;
      else [after, untilUs] = [untilUs, Math.min(untilUs + SLICE_US, toUs)];
    }
  }

  async #sendOnce(entry: TimedEntry, rereadFromUs: number): Promise<void> {
    const name = `${entry.run_id}.${entry.seq}`;
    if (this.#sent.has(name)) return;
    if (entry.at_us >= rereadFromUs) this.#sent.set(name, entry.at_us);
    await this.#writer.sendPaced(encoder.encode(framesOf(entry)));
    this.#sentAtMs = performance.now();
  }

  #sendText(text: string): void {
    this.#writer.send(encoder.encode(text));
    this.#sentAtMs = performance.now();
  }

  /** Waits for a query. Ends the stream when Postgres does not reply in time. */
  async #query<Result>(query: Promise<Result>): Promise<Result> {
    const timer = setTimeout(() => this.#writer.close(), QUERY_TIMEOUT_MS);
    try {
      return await query;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** The frames of an entry as in its run's own stream, except for the id, which is the time of the entry. */
function framesOf({ run_id, seq, events_n, events, at_us }: TimedEntry): string {
  return events
    .split("\n")
    .map((line, i) => `id: ${at_us}\ndata: ${eventJson(run_id, seq - events_n + 1 + i, line)}\n\n`)
    .join("");
}
