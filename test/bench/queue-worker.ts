import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import type { RunId } from "../../shared/contracts/ids.ts";
import { keys } from "../../shared/keys.ts";
import type { JobName } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import { Slots } from "../../worker-node/fleet/slots.ts";

const OPEN_SLOTS = 10;
/** How long a run lasts, about. */
const HELD_MS = 20;
const LEASE_MS = 15_000;
const MAX_WAIT_MS = 2_000;

/** A worker that claims as real ones do, and does nothing with its runs but hold their slots. */
export class QueueWorker {
  readonly #owner: string;
  readonly #queue: Queue;
  readonly #blocking: Redis;
  readonly #onClaim: (job: JobName) => void;
  readonly #slots = new Slots(OPEN_SLOTS, ["default"]);
  readonly #ended: RunId[] = [];
  readonly #stopped: Promise<void>;
  #isStopping = false;
  #waiting: Promise<unknown> | null = null;

  constructor(owner: string, queue: Queue, redisUrl: string, onClaim: (job: JobName) => void) {
    this.#owner = owner;
    this.#queue = queue;
    this.#blocking = new Redis(redisUrl, { protocol: 2 });
    this.#onClaim = onClaim;
    this.#stopped = this.#run();
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#slots.wakeWaiting();
    await this.#stopped;
    this.#blocking.disconnect();
  }

  async #run(): Promise<void> {
    while (!this.#isStopping) {
      const { released } = this.#slots;
      const room = this.#slots.room();
      if (room.slots <= 0) {
        await released;
        continue;
      }
      const ended = this.#ended.splice(0);
      const { runs, nextMs } = await this.#queue.claim({
        ...room,
        shard: 0,
        owner: this.#owner,
        leaseMs: LEASE_MS,
        ended,
      });
      for (const each of runs) this.#begin(each);
      if (runs.length === room.slots) continue;
      const { open, spare } = this.#slots.markers();
      const markers = [
        ...open.map((lane) => keys.wake(0, lane)),
        ...spare.map((lane) => keys.wakeSpare(0, lane)),
      ];
      const waitMs = Math.max(1, Math.min(MAX_WAIT_MS, nextMs));
      if (markers.length === 0) await released;
      else await Promise.race([this.#marker(markers, waitMs), released]);
    }
  }

  /** The wait for a marker goes on when this worker claims for another reason: a marker that it takes later ends its next wait. */
  #marker(markers: string[], waitMs: number): Promise<unknown> {
    this.#waiting ??= this.#blocking.blpop(markers, waitMs / 1_000).finally(() => {
      this.#waiting = null;
    });
    return this.#waiting;
  }

  #begin(job: JobName): void {
    this.#onClaim(job);
    this.#slots.take(job.run, job.tenant, "default");
    void sleep(HELD_MS * (0.5 + Math.random())).then(() => {
      this.#ended.push(job.run);
      this.#slots.release(job.run);
    });
  }
}
