import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { eventJson } from "../../shared/events/lines.ts";
import { journalClock, readTenantEntries } from "../../shared/store/journal/read-journal.ts";
import type { FeedPlace, TimedEntry } from "../../shared/store/journal/read-journal.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isDatabaseAway } from "../clients/postgres.ts";
import { log } from "../log.ts";
import { SseWriter } from "./sse-writer.ts";
import { SSE_HEADERS } from "./sse.ts";
import { pause } from "./pause.ts";

const SECOND_US = 1_000_000;
/** Postgres ends a statement after 5 s: what has not appeared this long after its time never will. */
const LATE_US = 6 * SECOND_US;
/** Who comes back starts this long before his id: what was late then, and some of what he has. */
const OVERLAP_US = 15 * SECOND_US;
/** How old an id may be: all since then is read again. */
const OLDEST_US = 24 * 3600 * SECOND_US;
/** A query sees so much time at once, so that a page of a long past does not sort all that came after it. */
const SLICE_US = 15 * SECOND_US;
const PAGE = 500;
/** A Postgres that is silent for this long is away. */
const ANSWER_MS = 3_000;

const encoder = new TextEncoder();

export type FeedTiming = { pollMs: number; keepaliveMs: number };

/**
 * The events of all runs of a tenant (null: of all tenants), from now on or from 15 s before `lastId`, until the viewer
 * leaves. Within one stream nothing comes twice; it ends when Postgres is away, and the viewer comes back.
 * @throws AppError `bad_event_id`: malformed or older than a day; the driver's errors
 */
export async function openTenantFeed(
  sql: Sql,
  tenant: TenantId | null,
  lastId: string | undefined,
  signal: AbortSignal,
  timing: FeedTiming = { pollMs: 1_000, keepaliveMs: 15_000 },
): Promise<Response> {
  const place = readPlace(lastId);
  const nowUs = await journalClock(sql);
  if (place !== null && place < nowUs - OLDEST_US)
    throw new AppError("bad_event_id", "This Last-Event-ID is more than a day old; begin without one.");
  const fromUs = place === null ? nowUs : Math.min(place - OVERLAP_US, nowUs);
  const feed = new TenantFeed(sql, tenant, timing);
  return new Response(feed.open(fromUs, signal), { headers: SSE_HEADERS });
}

function readPlace(id: string | undefined): number | null {
  if (id === undefined || id === "") return null;
  if (!/^[0-9]{1,16}$/.test(id))
    throw new AppError("bad_event_id", "Last-Event-ID is not an id of this feed.");
  return Number(id);
}

class TenantFeed {
  readonly #sql: Sql;
  readonly #tenant: TenantId | null;
  readonly #timing: FeedTiming;
  readonly #gone = new AbortController();
  readonly #outlet = new SseWriter(() => this.#gone.abort());
  /** The times of what was sent and will be read again, by run and number. */
  readonly #sent = new Map<string, number>();
  #sentAtMs = performance.now();

  constructor(sql: Sql, tenant: TenantId | null, timing: FeedTiming) {
    this.#sql = sql;
    this.#tenant = tenant;
    this.#timing = timing;
  }

  open(fromUs: number, signal: AbortSignal): ReadableStream<Uint8Array> {
    this.#outlet.closeOn(signal);
    // An id without data: who is cut before the first event comes back to where he began.
    this.#say(`id: ${fromUs}\n\n`);
    void this.#follow(fromUs);
    return this.#outlet.body;
  }

  async #follow(fromUs: number): Promise<void> {
    try {
      while (this.#outlet.isOpen) {
        const nowUs = await this.#answer(journalClock(this.#sql));
        const againUs = Math.max(fromUs, nowUs - LATE_US);
        await this.#send(fromUs, nowUs, againUs);
        fromUs = againUs;
        for (const [entry, atUs] of this.#sent) if (atUs < fromUs) this.#sent.delete(entry);
        // With an id, so that who comes back to a quiet feed does not read all of the silence again.
        if (performance.now() - this.#sentAtMs >= this.#timing.keepaliveMs)
          this.#say(`: keepalive\nid: ${nowUs}\n\n`);
        await pause(this.#timing.pollMs, this.#gone.signal);
      }
    } catch (error) {
      if (!isDatabaseAway(error)) log.error("feed.failed", { error: String(error) });
    }
    this.#outlet.close();
  }

  /** Sends what is new between two times, at the viewer's pace, and remembers what will be read again. */
  async #send(fromUs: number, toUs: number, againUs: number): Promise<void> {
    let after: FeedPlace | number = fromUs;
    let untilUs = Math.min(fromUs + SLICE_US, toUs);
    while (this.#outlet.isOpen) {
      const page: TimedEntry[] = await this.#answer(
        readTenantEntries(this.#sql, this.#tenant, after, untilUs, PAGE),
      );
      for (const entry of page) await this.#sendOnce(entry, againUs);
      const last = page.at(-1);
      if (last && page.length === PAGE) after = last;
      else if (untilUs >= toUs) return;
      else [after, untilUs] = [untilUs, Math.min(untilUs + SLICE_US, toUs)];
    }
  }

  async #sendOnce(entry: TimedEntry, againUs: number): Promise<void> {
    const name = `${entry.run_id}.${entry.seq}`;
    if (this.#sent.has(name)) return;
    if (entry.at_us >= againUs) this.#sent.set(name, entry.at_us);
    await this.#outlet.sendPaced(encoder.encode(framesOf(entry)));
    this.#sentAtMs = performance.now();
  }

  #say(text: string): void {
    this.#outlet.send(encoder.encode(text));
    this.#sentAtMs = performance.now();
  }

  /** Ends the stream when Postgres does not answer in time. */
  async #answer<Answer>(question: Promise<Answer>): Promise<Answer> {
    const timer = setTimeout(() => this.#outlet.close(), ANSWER_MS);
    try {
      return await question;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** As in a run's own stream, but for the id: the time of the entry. */
function framesOf({ run_id, seq, events_n, events, at_us }: TimedEntry): string {
  return events
    .split("\n")
    .map((line, i) => `id: ${at_us}\ndata: ${eventJson(run_id, seq - events_n + 1 + i, line)}\n\n`)
    .join("");
}
