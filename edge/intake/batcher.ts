/** Items of a batch at most: what keeps one statement and one script short. */
const MAX_BATCH = 128;

type Waiting<Item, Answer> = { item: Item; resolve(answer: Answer): void; reject(error: unknown): void };

/**
 * Handles items in batches, one after the other: what comes while one is under way makes the next. Nothing waits for
 * company: when nobody is before it, an item goes at once and alone.
 *
 * Two batches at once, one admitted while the other is committed, halve what each gathers: at 1,000 requests/s that
 * cost a third more processor time of all parts (1.2 against 0.85 ms a request). A pause between batches gained nothing.
 */
export class Batcher<Item, Answer> {
  readonly #handle: (items: Item[]) => Promise<Answer[]>;
  #waiting: Waiting<Item, Answer>[] = [];
  #draining = false;

  /** @param handle answers each item of a batch, in order */
  constructor(handle: (items: Item[]) => Promise<Answer[]>) {
    this.#handle = handle;
  }

  /** How many have not begun. */
  get waiting(): number {
    return this.#waiting.length;
  }

  add(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (!this.#draining) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    // What else comes in this turn of the event loop rides along.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      try {
        const answers = await this.#handle(batch.map(({ item }) => item));
        for (const [i, { resolve, reject }] of batch.entries()) {
          const answer = answers[i];
          if (answer === undefined) reject(new Error("an item of the batch was not answered"));
          else resolve(answer);
        }
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#draining = false;
  }
}
