/** Batches that are under way at once: one is committed while the next is being admitted. */
const AT_ONCE = 1;

/** Items of a batch at most: what keeps one statement and one script short. */
const MAX_BATCH = 128;

type Waiting<Item, Answer> = { item: Item; resolve(answer: Answer): void; reject(error: unknown): void };

/**
 * Handles items in batches: what comes while batches are under way makes the next one. Nothing waits for company:
 * when nobody is before it, an item goes at once and alone.
 */
export class Gatherer<Item, Answer> {
  readonly #handle: (items: Item[]) => Promise<Answer[]>;
  #waiting: Waiting<Item, Answer>[] = [];
  #underWay = 0;

  /** @param handle answers each item of a batch, in order */
  constructor(handle: (items: Item[]) => Promise<Answer[]>) {
    this.#handle = handle;
  }

  add(item: Item): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#underWay < AT_ONCE) void this.#drain();
    });
  }

  async #drain(): Promise<void> {
    this.#underWay += 1;
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
    this.#underWay -= 1;
  }
}
