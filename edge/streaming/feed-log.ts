import type { TimedEntry } from "../../shared/store/journal/read-journal.ts";

/** The newest entries of a feed, in the order in which the feed found them. Each has a place, 0, 1, 2 …; the oldest are dropped. */
export class FeedLog {
  readonly #maxBytes: number;
  #entries: { entry: TimedEntry; sizeBytes: number }[] = [];
  #sizeBytes = 0;
  #first = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The place of the oldest entry that is still here. */
  get first(): number {
    return this.#first;
  }

  /** The place of the next entry. */
  get end(): number {
    return this.#first + this.#entries.length;
  }

  /** Adds an entry, and drops the oldest entries beyond `maxBytes`; the newest entry stays, however large. */
  add(entry: TimedEntry): void {
    const sizeBytes = entry.events.length;
    this.#entries.push({ entry, sizeBytes });
    this.#sizeBytes += sizeBytes;
    let dropped = 0;
    while (this.#sizeBytes > this.#maxBytes && dropped < this.#entries.length - 1) {
      this.#sizeBytes -= this.#entries[dropped]?.sizeBytes ?? 0;
      dropped += 1;
    }
    if (dropped === 0) return;
    this.#entries = this.#entries.slice(dropped);
    this.#first += dropped;
  }

  at(place: number): TimedEntry | undefined {
    return this.#entries[place - this.#first]?.entry;
  }
}
