import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { linesOf } from "../../../shared/events/lines.ts";
import { readLive } from "../../../shared/events/live.ts";
import { keys } from "../../../shared/keys.ts";
import { nowMs } from "./peer.ts";

const BLOCK_MS = 500;
const RUN_MS = 30_000;

/** Follows our runs on the live stream, to which a worker appends after each commit. */
export class LiveWatch {
  readonly #redis: Redis;
  readonly #claimed = new Map<string, number>();
  readonly #ended = new Map<string, number>();
  readonly #waiting = new Map<string, () => void>();
  #reading: Promise<void> | null = null;
  #isStopped = false;

  constructor(redisUrl: string) {
    this.#redis = new Redis(redisUrl, { protocol: 2 });
  }

  /** Entries that are published after this promise has resolved are read. */
  async start(): Promise<void> {
    const [newest] = await this.#redis.xrevrange(keys.live(0), "+", "-", "COUNT", 1);
    this.#reading = this.#read(newest?.[0] ?? "0-0");
  }

  /** `claimedMs` is the worker's time in the event, which has whole milliseconds. */
  async timesOf(run: string): Promise<{ claimedMs: number; endedMs: number }> {
    if (!this.#ended.has(run)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.set(run, resolve);
      const abandon = new AbortController();
      await Promise.race([promise, sleep(RUN_MS, undefined, { signal: abandon.signal })]);
      abandon.abort();
    }
    const [claimedMs, endedMs] = [this.#claimed.get(run), this.#ended.get(run)];
    if (claimedMs === undefined || endedMs === undefined)
      throw new Error(`ours: the run ${run} has not ended in ${RUN_MS} ms`);
    return { claimedMs, endedMs };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#reading;
    this.#redis.disconnect();
  }

  async #read(from: string): Promise<void> {
    let cursor = from;
    while (!this.#isStopped) {
      const reply = await this.#redis.xread("COUNT", 100, "BLOCK", BLOCK_MS, "STREAMS", keys.live(0), cursor);
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        cursor = id;
        const entry = readLive(fields);
        if (!entry) continue;
        const pickedUp = linesOf(entry.events).find((line) => line.includes('"worker_picked_up"'));
        const pickedUpAt = pickedUp && /"ts":"([^"]+)"/.exec(pickedUp)?.[1];
        if (pickedUpAt !== undefined) this.#claimed.set(entry.run, Date.parse(pickedUpAt));
        if (!entry.last) continue;
        this.#ended.set(entry.run, nowMs());
        this.#waiting.get(entry.run)?.();
        this.#waiting.delete(entry.run);
      }
    }
  }
}
