import type { FeedPage, FeedPosition, TimedEntry } from "../../shared/store/journal/read-journal.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { pause } from "../http/pause.ts";

/** One query covers at most this many microseconds: otherwise a page from the distant past would sort all entries after it. */
const SLICE_US = 15_000_000;

/** Reads the entries of the feed's tenant from Postgres. Times are microseconds of Postgres' clock. */
export type FeedReader = {
  /** The time of Postgres' clock. */
  clock(): Promise<number>;
  /** A page after a position or from a time on, and before `untilUs`. */
  page(after: FeedPosition | number, untilUs: number): Promise<FeedPage>;
};

/** A span of time whose entries are read. `take` gets each page. The reads end early when `isOpen` returns false. */
type Span = {
  fromUs: number;
  toUs: number;
  isOpen(): boolean;
  take(page: readonly TimedEntry[]): Promise<void>;
};

/**
 * The reads of a feed: spans of time in pages. Viewers that catch up read in turn, one query at a time. After each query the feed
 * pauses for as long as the query took, so these viewers keep at most half of one connection busy.
 */
export class FeedReads {
  readonly #reader: FeedReader;
  readonly #signal: AbortSignal;
  /** Resolves after the latest query of a viewer that catches up and its pause: the next such query waits for it. */
  #pace: Promise<unknown> = Promise.resolve();

  /** @param signal ends the pauses after queries */
  constructor(reader: FeedReader, signal: AbortSignal) {
    this.#reader = reader;
    this.#signal = signal;
  }

  /** The time of Postgres' clock. */
  clock(): Promise<number> {
    return this.#reader.clock();
  }

  /** Reads a span for all viewers, as fast as its pages are taken. */
  now(span: Span): Promise<void> {
    return this.#read(span, (page) => page());
  }

  /** Reads a span for one viewer: each query waits for its turn. */
  inTurn(span: Span): Promise<void> {
    return this.#read(span, (page) => this.#queryInTurn(page));
  }

  async #read(
    { fromUs, toUs, isOpen, take }: Span,
    query: (page: () => Promise<FeedPage>) => Promise<FeedPage>,
  ): Promise<void> {
    let after: FeedPosition | number = fromUs;
    let untilUs = Math.min(fromUs + SLICE_US, toUs);
    while (isOpen()) {
      const { entries, more }: FeedPage = await query(() => this.#reader.page(after, untilUs));
      await take(entries);
      const last = entries.at(-1);
      if (more && last) after = last;
      else if (untilUs >= toUs) return;
      else [after, untilUs] = [untilUs, Math.min(untilUs + SLICE_US, toUs)];
    }
  }

  /** Queries after the queries of other viewers that catch up, and makes the next one wait for as long as this one took. */
  async #queryInTurn<Page>(query: () => Promise<Page>): Promise<Page> {
    const before = this.#pace;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pace = promise;
    await before;
    const startedMs = elapsedMs();
    try {
      return await query();
    } finally {
      // No query takes longer than the limit: a clock that is set forward by an hour stops no feed for an hour.
      const tookMs = Math.min(elapsedMs() - startedMs, POSTGRES_READ_MS);
      void pause(tookMs, this.#signal).then(resolve);
    }
  }
}
