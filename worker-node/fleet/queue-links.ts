import type { WorkerTiming } from "./worker-timing.ts";

/**
 * What one worker knows of one queue shard, as a state machine. docs/protocol.md 5.2 and 11.
 *
 * | State     | Meaning                                                | Claims come from                |
 * |-----------|--------------------------------------------------------|---------------------------------|
 * | `unknown` | This process has not reached the shard yet.            | nowhere                         |
 * | `syncing` | The shard answers; its leases are being restored.      | nowhere                         |
 * | `up`      | The last claim was answered, and no call failed since. | the queue                       |
 * | `down`    | A call failed, or the shard is cold.                   | nowhere                         |
 * | `direct`  | As `down`, for at least `directAfterMs`.               | Postgres alone, once per second |
 *
 * In every state but `up` the worker synchronizes before it claims from the queue: it announces that the queue answers,
 * restores the leases of running runs and releases those that moved meanwhile. Runs that were claimed without the queue
 * take slots that the queue does not know of.
 */
export type QueueLink =
  | { is: "up" }
  /** `sinceMs`: since when nothing may be claimed from the queue, by the monotonic clock of this process. */
  | { is: "unknown" | "syncing" | "down" | "direct"; sinceMs: number };

/**
 * `answered`: the shard has an index and can be reached. `claimed`: it answered a claim. `failed`: a call to it failed, it
 * is cold, or the synchronization failed.
 */
export type LinkEvent = "answered" | "claimed" | "failed";

/** The state after an event at `nowMs`. An event never moves `sinceMs`, except that a failure of an `up` link sets it. */
export function nextLink(link: QueueLink, event: LinkEvent, nowMs: number, directAfterMs: number): QueueLink {
  if (event === "claimed") return { is: "up" };
  if (event === "answered") return link.is === "up" ? link : { is: "syncing", sinceMs: link.sinceMs };
  const sinceMs = link.is === "up" ? nowMs : link.sinceMs;
  return { is: nowMs - sinceMs >= directAfterMs ? "direct" : "down", sinceMs };
}

/**
 * Which stores this worker can reach: one QueueLink per shard, and Postgres. Leases, the claim loops and the reconciler
 * report to it what they observe and read from it what they may do, so that they do not depend on each other.
 */
export class QueueLinks {
  readonly #timing: WorkerTiming;
  readonly #links: QueueLink[];
  readonly #coldListeners: ((shard: number) => void)[] = [];
  /** When this worker last announced that the queue answers. A failure of any shard withdraws it. */
  #announcedMs = -Infinity;
  #deferredUntilMs = -Infinity;
  #isPostgresReachable = true;

  constructor(shards: number, timing: WorkerTiming) {
    const sinceMs = performance.now();
    this.#timing = timing;
    this.#links = Array.from({ length: shards }, () => ({ is: "unknown", sinceMs }));
  }

  /** The state of one shard. */
  of(shard: number): QueueLink["is"] {
    return this.#link(shard).is;
  }

  /** True when this worker may claim from every shard. */
  get allUp(): boolean {
    return this.#links.every(({ is }) => is === "up");
  }

  /**
   * `redis_ok` of the beat: while one worker of the fleet beats with true, no worker claims directly. True also for
   * `announcedMs` after an announcement: by then the first claim after it has been answered.
   */
  get redisOk(): boolean {
    return this.allUp || performance.now() - this.#announcedMs < this.#timing.announcedMs;
  }

  /** False from a failed beat to the next one that succeeds. Nothing is claimed meanwhile. */
  get isPostgresReachable(): boolean {
    return this.#isPostgresReachable;
  }

  /** The outcome of a beat. */
  reportPostgres(isReachable: boolean): void {
    this.#isPostgresReachable = isReachable;
  }

  /** The next beats carry `redis_ok`, unless a call fails. */
  reportAnnounced(): void {
    this.#announcedMs = performance.now();
  }

  reportAnswered(shard: number): void {
    this.#report(shard, "answered");
  }

  reportClaimed(shard: number): void {
    this.#report(shard, "claimed");
  }

  /** The shard cannot be reached, or is cold. The worker synchronizes before its next claim from it. */
  reportFailed(shard: number): void {
    this.#announcedMs = -Infinity;
    this.#report(shard, "failed");
  }

  /** The shard answers that it has no index: the listeners start the repair. Its state is unchanged. */
  reportCold(shard: number): void {
    for (const listener of this.#coldListeners) listener(shard);
  }

  onCold(listener: (shard: number) => void): void {
    this.#coldListeners.push(listener);
  }

  /** Leaves the repairs of the queue to other workers for a time, because the queue cannot be reached from here. */
  deferRepairs(forMs: number): void {
    this.#deferredUntilMs = performance.now() + forMs;
  }

  get areRepairsDeferred(): boolean {
    return performance.now() < this.#deferredUntilMs;
  }

  #report(shard: number, event: LinkEvent): void {
    const { directAfterMs } = this.#timing;
    this.#links[shard] = nextLink(this.#link(shard), event, performance.now(), directAfterMs);
  }

  #link(shard: number): QueueLink {
    const link = this.#links[shard];
    if (!link) throw new Error(`there is no queue shard ${shard}`);
    return link;
  }
}
