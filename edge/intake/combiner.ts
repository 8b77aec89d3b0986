/** Items of a call at most. */
const MAX_BATCH = 128;

/** A leader that has not been heard of for so long is gone, with the client that it answers. */
const LEADER_GONE_MS = 3_000;

/** Longer than any call takes. */
const WAIT_MS = 15_000;

/** What a waiting request hears: its answer, or that it is the next to lead. */
type News<Answer> = { answer: Answer } | "lead";
type Waiting<Item, Answer> = { item: Item; resolve(news: News<Answer>): void; reject(error: unknown): void };

/**
 * Lets the requests of an isolate share calls: while one of them, the leader, makes a call, those who come meanwhile
 * wait; one of them leads the next, for all. Nothing waits for company: when nobody is before it, a request goes at
 * once and alone.
 *
 * A request may use only what it has opened itself, so each call is made by the request that leads it. A client that
 * leaves takes its request along: `keep` lets it do its part for the others all the same, and a leader that never
 * comes back is replaced.
 */
export class Combiner<Item, Answer> {
  #waiting: Waiting<Item, Answer>[] = [];
  /** Since when there is a leader; null: there is none. */
  #ledSinceMs: number | null = null;

  /**
   * @param call answers each item of a batch, in order, by means of the calling request
   * @param keep keeps the calling request alive for as long as the work takes
   * @throws what `call` throws; an Error when no answer came in time
   */
  ask(
    item: Item,
    call: (items: Item[]) => Promise<Answer[]>,
    keep: (work: Promise<unknown>) => void,
  ): Promise<Answer> {
    const answer = this.#ask(item, call);
    keep(answer.catch(() => {})); // whoever asks hears of it
    return answer;
  }

  async #ask(item: Item, call: (items: Item[]) => Promise<Answer[]>): Promise<Answer> {
    if (this.#isLed()) {
      const news = await this.#wait(item);
      if (news !== "lead") return news.answer;
    }
    const others = this.#waiting.splice(0, MAX_BATCH - 1);
    this.#ledSinceMs = Date.now();
    try {
      const [own, ...rest] = await call([item, ...others.map((other) => other.item)]);
      for (const [i, other] of others.entries()) tell(other, rest[i]);
      if (own === undefined) throw new Error("an item of the batch was not answered");
      return own;
    } catch (error) {
      for (const { reject } of others) reject(error);
      throw error;
    } finally {
      this.#passOn();
    }
  }

  #passOn(): void {
    const next = this.#waiting.shift();
    this.#ledSinceMs = next ? Date.now() : null;
    next?.resolve("lead");
  }

  #isLed(): boolean {
    return this.#ledSinceMs !== null && Date.now() - this.#ledSinceMs < LEADER_GONE_MS;
  }

  async #wait(item: Item): Promise<News<Answer>> {
    const { promise, resolve, reject } = Promise.withResolvers<News<Answer>>();
    const own = { item, resolve, reject };
    this.#waiting.push(own);
    const untilMs = Date.now() + WAIT_MS;
    const timer = setInterval(() => {
      const place = this.#waiting.indexOf(own);
      const isLate = Date.now() > untilMs;
      // Whoever is not waiting any more is in a call: asked for twice, it might be done twice.
      if (place >= 0 && (isLate || !this.#isLed())) this.#waiting.splice(place, 1);
      if (isLate) reject(new Error("no answer in time"));
      else if (place >= 0 && !this.#isLed()) resolve("lead");
    }, LEADER_GONE_MS);
    try {
      return await promise;
    } finally {
      clearInterval(timer);
    }
  }
}

function tell<Answer>(
  { resolve, reject }: { resolve(news: News<Answer>): void; reject(error: unknown): void },
  answer: Answer | undefined,
): void {
  if (answer === undefined) reject(new Error("an item of the batch was not answered"));
  else resolve({ answer });
}
