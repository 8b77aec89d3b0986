import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { FairQueue } from "./fair-queue.ts";
import type { Sized } from "./fair-queue.ts";

/** After a call of this length its leader counts as gone: the leader's client disconnected, and the runtime ended the request. */
const LEADER_GONE_MS = 3_000;

/** The most calls that one request makes for others, and how long it goes on: the runtime bounds both after a response. */
const LED_CALLS = 64;
const LED_MS = 1_000;

/** A follower without a result for this long fails. No call takes as long. */
const WAIT_MS = 15_000;

/** How a follower's wait ends: with its result, or as the leader of the next call. */
type FollowerOutcome<Result> = { result: Result } | "lead";
/** An item of a call. */
type Called<Item, Result> = Sized & {
  item: Item;
  resolve(outcome: { result: Result }): void;
  reject(error: unknown): void;
};
type Follower<Item, Result> = Called<Item, Result> & { resolve(outcome: FollowerOutcome<Result>): void };

/** A request's time as the leader. `calledMs`: the start of its call. */
type Lead = { calledMs: number };

/**
 * Lets the requests of an isolate share calls. While one request, the leader, makes a call, requests that arrive wait
 * as followers; the leader's next call is for all of them. No request waits for others to join it: when no call is
 * under way, a request calls at once and alone.
 *
 * A request may use only connections that it opened itself, so the request that leads makes the calls. It goes on after its own
 * result, for 64 calls or a second, or until a call fails: the runtime may allow the request no further one. If a follower led each
 * next call, the call would wait until the runtime has continued all followers that have got their results.
 *
 * When a client disconnects, the runtime ends its request. `waitUntil` lets a request finish all the same, as the leader or as a
 * follower, and a follower replaces a leader that never returns.
 */
export class Combiner<Item, Result> {
  readonly #sizeOf: (item: Item) => Sized;
  readonly #followers = new FairQueue<Follower<Item, Result>>();
  /** Null: no call is under way. */
  #lead: Lead | null = null;

  constructor(size: (item: Item) => Sized) {
    this.#sizeOf = size;
  }

  /**
   * @param call returns the result of each item, in order; it runs in the leading request
   * @param waitUntil keeps the calling request alive until the work has ended
   * @throws what `call` throws; an Error when there is no result in time
   */
  async send(
    item: Item,
    call: (items: Item[]) => Promise<Result[]>,
    waitUntil: (work: Promise<unknown>) => void,
  ): Promise<Result> {
    if (this.#isLed()) {
      const following = this.#follow(item);
      waitUntil(following.catch(() => {})); // the caller gets the error
      const outcome = await following;
      if (outcome !== "lead") return outcome.result;
    }
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const own = { item, resolve: ({ result }: { result: Result }) => resolve(result), reject };
    waitUntil(this.#leadFrom({ ...own, ...this.#sizeOf(item) }, call));
    return promise;
  }

  /** Makes calls, the first for `own` and all that wait, until no request waits or another one leads. Never throws. */
  async #leadFrom(own: Called<Item, Result>, call: (items: Item[]) => Promise<Result[]>): Promise<void> {
    const beganMs = elapsedMs();
    const lead = { calledMs: beganMs };
    this.#lead = lead;
    let batch: Called<Item, Result>[] = [own, ...this.#followers.takeBatch(own.bytes)];
    for (let calls = 1; batch.length > 0; calls++) {
      lead.calledMs = elapsedMs();
      const hasFailed = !(await callFor(batch, call));
      if (this.#lead !== lead) return;
      if (hasFailed || calls === LED_CALLS || elapsedMs() - beganMs >= LED_MS) return this.#appointLeader();
      batch = this.#followers.takeBatch();
    }
    this.#lead = null;
  }

  #appointLeader(): void {
    const next = this.#followers.takeNext();
    this.#lead = next ? { calledMs: elapsedMs() } : null;
    next?.resolve("lead");
  }

  #isLed(): boolean {
    return this.#lead !== null && elapsedMs() - this.#lead.calledMs < LEADER_GONE_MS;
  }

  async #follow(item: Item): Promise<FollowerOutcome<Result>> {
    const { promise, resolve, reject } = Promise.withResolvers<FollowerOutcome<Result>>();
    const own = { item, resolve, reject, ...this.#sizeOf(item) };
    if (!this.#followers.add(own)) throw new Error("too much waits for this call");
    const deadlineMs = elapsedMs() + WAIT_MS;
    const timer = setInterval(() => {
      const isLate = elapsedMs() > deadlineMs;
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

/** Makes one call, and gives each item its result or the call's error. @returns false: the call failed */
async function callFor<Item, Result>(
  batch: readonly Called<Item, Result>[],
  call: (items: Item[]) => Promise<Result[]>,
): Promise<boolean> {
  try {
    const results = await call(batch.map(({ item }) => item));
    for (const [i, follower] of batch.entries()) resolveWith(follower, results[i]);
    return true;
  } catch (error) {
    for (const { reject } of batch) reject(error);
    return false;
  }
}

function resolveWith<Item, Result>(
  { resolve, reject }: Called<Item, Result>,
  result: Result | undefined,
): void {
  if (result === undefined) reject(new Error("an item of the batch has no result"));
  else resolve({ result });
}
