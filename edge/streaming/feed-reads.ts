import type { FeedPage, FeedPosition, TimedEntry } from "../../shared/store/journal/read-journal.ts";
import { pause } from "../http/pause.ts";

/** One query covers at most this much time, in microseconds, so that a page of a long past does not sort everything after it. */
const SLICE_US = 15_000_000;

/** Reads the entries of the feed's tenant from Postgres. Times are microseconds of Postgres' clock. */
export type FeedReader = {
  /** The time of Postgres' clock. */
  clock(): Promise<number>;
  /** A page after a position or from a time on, and before `untilUs`. */
  page(after: FeedPosition | number, untilUs: number): Promise<FeedPage>;
};

/** A span of time whose entries are read, and what becomes of each page. The reads end early when `isOpen` is false. */
type Span = {
  fromUs: number;
  toUs: number;
  isOpen(): boolean;
  take(page: readonly TimedEntry[]): Promise<void>;
};

/**
 * The reads of a feed: spans of time in pages. Viewers that catch up read in turn, one query at a time, and the feed rests
 * after each for as long as it took, so that half of one connection is the most that they cost Postgres.
 */
export class FeedReads {
  readonly #reader: FeedReader;
  readonly #signal: AbortSignal;
  /** The end of the latest query of a viewer that catches up, which the next one waits for. */
  #pace: Promise<unknown> = Promise.resolve();

  /** @param signal ends the rests after queries */
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
    return this.#read(span, (page) => this.#rested(page));
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

  /** Queries when the queries of other viewers that catch up are over, and rests afterwards. */
  async #rested<Page>(query: () => Promise<Page>): Promise<Page> {
    const before = this.#pace;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#pace = promise;
    await before;
    const startedMs = performance.now();
    try {
      return await query();
    } finally {
      void pause(performance.now() - startedMs, this.#signal).then(resolve);
    }
  }
}
