import { FairQueue } from "./fair-queue.ts";
import type { Sized } from "./fair-queue.ts";

/** A leader without a result for this long counts as gone: its client disconnected, and the runtime ended its request. */
const LEADER_GONE_MS = 3_000;

/** A follower without a result for this long fails. No call takes as long. */
const WAIT_MS = 15_000;

/** How a follower's wait ends: with its result, or as the leader of the next call. */
type FollowerOutcome<Result> = { result: Result } | "lead";
type Follower<Item, Result> = Sized & {
  item: Item;
  resolve(outcome: FollowerOutcome<Result>): void;
  reject(error: unknown): void;
};

/**
 * Lets the requests of an isolate share calls. While one request, the leader, makes a call, requests that arrive wait
 * as followers; then one of them leads the next call, for all. No request waits for others to join it: when no call is
 * under way, a request calls at once and alone.
 *
 * A request may use only connections that it opened itself, so the request that leads makes the call. When a client
 * disconnects, the runtime ends its request. `waitUntil` lets the request of a leader finish its call for the followers
 * all the same, and a follower replaces a leader that never returns.
 */
export class Combiner<Item, Result> {
  readonly #sizeOf: (item: Item) => Sized;
  readonly #followers = new FairQueue<Follower<Item, Result>>();
  /** The start of the leader's call; null: no call is under way. */
  #ledSinceMs: number | null = null;

  constructor(size: (item: Item) => Sized) {
    this.#sizeOf = size;
  }

  /**
   * @param call returns the result of each item, in order; it runs in the leading request
   * @param waitUntil keeps the calling request alive until the work has ended
   * @throws what `call` throws; an Error when there is no result in time
   */
  send(
    item: Item,
    call: (items: Item[]) => Promise<Result[]>,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<Result> {
    const result = this.#send(item, call);
    waitUntil(result.catch(() => {})); // the caller gets the error
    return result;
  }

  async #send(item: Item, call: (items: Item[]) => Promise<Result[]>): Promise<Result> {
    if (this.#isLed()) {
      const outcome = await this.#follow(item);
      if (outcome !== "lead") return outcome.result;
    }
    const followers = this.#followers.takeBatch(this.#sizeOf(item).bytes);
    this.#ledSinceMs = Date.now();
    try {
      const [own, ...rest] = await call([item, ...followers.map((follower) => follower.item)]);
      for (const [i, follower] of followers.entries()) resolveWith(follower, rest[i]);
      if (own === undefined) throw new Error("an item of the batch has no result");
      return own;
    } catch (error) {
      for (const { reject } of followers) reject(error);
      throw error;
    } finally {
      this.#appointLeader();
    }
  }

  #appointLeader(): void {
    const next = this.#followers.takeNext();
    this.#ledSinceMs = next ? Date.now() : null;
    next?.resolve("lead");
  }

  #isLed(): boolean {
    return this.#ledSinceMs !== null && Date.now() - this.#ledSinceMs < LEADER_GONE_MS;
  }

  async #follow(item: Item): Promise<FollowerOutcome<Result>> {
    const { promise, resolve, reject } = Promise.withResolvers<FollowerOutcome<Result>>();
    const own = { item, resolve, reject, ...this.#sizeOf(item) };
    if (!this.#followers.add(own)) throw new Error("too much waits for this call");
    const deadlineMs = Date.now() + WAIT_MS;
    const timer = setInterval(() => {
      const isLate = Date.now() > deadlineMs;
      if (!isLate && this.#isLed()) return;
      // An item that no longer waits is part of a call: a second call with it might do the work twice.
      const waits = this.#followers.remove(own);
      if (isLate) reject(new Error("no result in time"));
      else if (waits) resolve("lead");
    }, LEADER_GONE_MS);
    try {
      return await promise;
    } finally {
      clearInterval(timer);
    }
  }
}

function resolveWith<Item, Result>(
  { resolve, reject }: Follower<Item, Result>,
  result: Result | undefined,
): void {
  if (result === undefined) reject(new Error("an item of the batch has no result"));
  else resolve({ result });
}
