import { Redis } from "ioredis";
import { z } from "zod";
import { readLive } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { log } from "../log.ts";
import { pause } from "./pause.ts";

/** How long one XREAD waits; a silent stream is looked at this often. */
const BLOCK_MS = 5_000;
/** A connection that says nothing for this long, although XREAD must have answered, is dead. */
const DEAD_MS = BLOCK_MS + 3_000;
const RECONNECT_MS = 500;
const PAGE = 500;

const Reply = z.array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))])).nullable();

export type FeedListener = {
  onEntry(entry: LiveEntry): void;
  /** Entries may have been missed: the place in the stream was found anew. */
  onResync(): void;
};

/**
 * Follows one live stream of Redis, from where it is now, over one connection of its own.
 *
 * The cursor is found once and kept over reconnects; it is found again only when the stream's last id lies before
 * it: Redis lost the stream, or its clock went back.
 */
export class LiveFeed {
  readonly #url: string;
  readonly #key: string;
  readonly #listener: FeedListener;
  readonly #stop = new AbortController();
  #cursor: string | null = null;
  #following = false;

  constructor(url: string, key: string, listener: FeedListener) {
    this.#url = url;
    this.#key = key;
    this.#listener = listener;
  }

  /** False while Redis is away: then nothing comes, however much happens. */
  get following(): boolean {
    return this.#following;
  }

  /** Follows until `stop`. Never throws: a Redis that is away is tried again every half second. */
  async follow(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const redis = connect(this.#url);
      const close = () => redis.disconnect();
      this.#stop.signal.addEventListener("abort", close);
      try {
        await redis.connect();
        await this.#read(redis);
      } catch {
        if (this.#following && !this.#stop.signal.aborted)
          log.info("relay.redis_lost", { stream: this.#key });
        this.#following = false;
      } finally {
        this.#stop.signal.removeEventListener("abort", close);
        close();
      }
      await pause(RECONNECT_MS, this.#stop.signal);
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  async #read(redis: Redis): Promise<void> {
    let certain = false;
    while (!this.#stop.signal.aborted) {
      if (!certain) await this.#findCursor(redis);
      this.#following = true;
      const cursor = this.#cursor ?? "0-0";
      const reply = Reply.parse(
        await within(
          DEAD_MS,
          redis.call("XREAD", "COUNT", PAGE, "BLOCK", BLOCK_MS, "STREAMS", this.#key, cursor),
        ),
      );
      certain = reply !== null;
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        this.#cursor = id;
        const entry = readLive(fields);
        if (entry) this.#listener.onEntry(entry);
      }
    }
  }

  async #findCursor(redis: Redis): Promise<void> {
    const last = await within(DEAD_MS, lastId(redis, this.#key));
    if (this.#cursor !== null && !isBefore(last, this.#cursor)) return;
    this.#cursor = last;
    this.#listener.onResync();
  }
}

function connect(url: string): Redis {
  const redis = new Redis(url, {
    // RESP3 flattens some replies.
    protocol: 2,
    lazyConnect: true,
    connectTimeout: 2_000,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // The same error rejects the command that waits.
  redis.on("error", () => {});
  return redis;
}

/** The id of the stream's newest entry, also of one that was trimmed away; `0-0` when there is no stream. */
async function lastId(redis: Redis, key: string): Promise<string> {
  try {
    const info = z.array(z.unknown()).parse(await redis.call("XINFO", "STREAM", key));
    return z.string().parse(info[info.indexOf("last-generated-id") + 1]);
  } catch (error) {
    if (error instanceof Error && error.message.includes("no such key")) return "0-0";
    throw error;
  }
}

function isBefore(id: string, other: string): boolean {
  const [ms = "0", seq = "0"] = id.split("-");
  const [otherMs = "0", otherSeq = "0"] = other.split("-");
  return Number(ms) === Number(otherMs) ? Number(seq) < Number(otherSeq) : Number(ms) < Number(otherMs);
}

async function within<Value>(ms: number, work: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer from Redis within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
