import type { Redis } from "ioredis";
import { z } from "zod";
import { readLive } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { log } from "../../shared/log.ts";
import { LIVE_BLOCK_MS, LIVE_DEAD_MS } from "../../shared/timing.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";
import { pause } from "../http/pause.ts";

const RECONNECT_MS = 500;

/** How often the command that has no reply yet is compared with its time limit. */
const LOOK_MS = 1_000;

/** The most entries that one XREAD returns. */
const PAGE = 500;

const Reply = z.array(z.tuple([z.string(), z.array(z.tuple([z.string(), z.array(z.string())]))])).nullable();

type FeedListener = {
  onEntry(entry: LiveEntry): void;
  /** Entries may have been missed: the cursor was set to the end of the stream. */
  onResync(): void;
};

/**
 * Follows one live stream of Redis over a connection of its own, from the stream's present end on
 * (docs/protocol.md 9).
 *
 * The cursor survives reconnects. It is set to the stream's end again only when the stream's last id lies before it: then Redis
 * has lost the stream, or its clock was set back.
 */
export class LiveFeed {
  readonly #open: () => Redis;
  readonly #key: string;
  readonly #listener: FeedListener;
  readonly #stopping = new AbortController();
  #cursor: string | null = null;
  #following = false;
  #redis: Redis | null = null;
  /** The command without a reply: when it was sent, and what ends the wait for its reply. */
  #sent: { ms: number; giveUp(error: unknown): void } | null = null;
  /** When the last entry was received, or this connection was last given up for its silence. */
  #receivedMs = elapsedMs();
  readonly #silentMs: number;

  /**
   * @param open makes a connection with the settings `FOLLOWED_REDIS`, which is not connected yet
   * @param silentMs a connection without an entry for this long is given up when an entry is missed
   */
  constructor(open: () => Redis, key: string, listener: FeedListener, silentMs: number = LIVE_BLOCK_MS) {
    this.#silentMs = silentMs;
    this.#open = open;
    this.#key = key;
    this.#listener = listener;
  }

  /** False while Redis is unreachable: no entry is received then, whatever is committed. */
  get following(): boolean {
    return this.#following;
  }

  /** Follows until `stop`. Never throws: an unreachable Redis is tried again every half second. */
  async follow(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const redis = (this.#redis = this.#open());
      // The same error also rejects the pending command.
      redis.on("error", () => {});
      const close = () => redis.disconnect();
      signal.addEventListener("abort", close);
      this.#limitReplies(redis);
      try {
        await redis.connect();
        await this.#read(redis);
      } catch {
        if (this.#following && !signal.aborted) log.info("relay.redis_unreachable", { stream: this.#key });
        this.#following = false;
      } finally {
        signal.removeEventListener("abort", close);
        close();
      }
      await pause(RECONNECT_MS, signal);
    }
  }

  /**
   * Reports that an entry is committed which this feed did not deliver. If nothing else was received lately, the connection is opened anew: after a failover
   * it may lead to the former master, which answers and gets no entries any more. A single publish that was lost reconnects no busy feed.
   */
  missed(): void {
    if (elapsedMs() - this.#receivedMs < this.#silentMs) return;
    this.#receivedMs = elapsedMs();
    this.#redis?.disconnect();
  }

  stop(): void {
    this.#stopping.abort();
  }

  async #read(redis: Redis): Promise<void> {
    let cursorIsValid = false;
    while (!this.#stopping.signal.aborted) {
      if (!cursorIsValid) await this.#resolveCursor(redis);
      this.#following = true;
      const cursor = this.#cursor ?? "0-0";
      const read = redis.call("XREAD", "COUNT", PAGE, "BLOCK", LIVE_BLOCK_MS, "STREAMS", this.#key, cursor);
      const reply = Reply.parse(await this.#inTime(read));
      // A cursor beyond the stream's end gets an empty reply too: then the cursor has to be resolved again.
      cursorIsValid = reply !== null;
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        this.#cursor = id;
        this.#receivedMs = elapsedMs();
        const entry = readLive(fields);
        if (entry) this.#listener.onEntry(entry);
      }
    }
  }

  async #resolveCursor(redis: Redis): Promise<void> {
    const last = await this.#inTime(lastId(redis, this.#key));
    if (this.#cursor !== null && !isBefore(last, this.#cursor)) return;
    this.#cursor = last;
    this.#listener.onResync();
  }

  /**
   * Gives up a reply that takes too long, for as long as this connection is the feed's. One timer for the connection, which ends in its
   * own callback: a timer that is cleared at each reply keeps memory for as long as the object lives (`findings/workerd-cleared-timer-stays.sh`).
   */
  #limitReplies(redis: Redis): void {
    const timer = setInterval(() => {
      if (this.#redis !== redis || this.#stopping.signal.aborted) clearInterval(timer);
      else if (this.#sent !== null && elapsedMs() - this.#sent.ms >= LIVE_DEAD_MS)
        this.#sent.giveUp(new Error(`Redis did not reply within ${LIVE_DEAD_MS} ms`));
    }, LOOK_MS);
  }

  async #inTime<Value>(reply: Promise<Value>): Promise<Value> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    this.#sent = { ms: elapsedMs(), giveUp: reject };
    try {
      return await Promise.race([reply, late]);
    } finally {
      this.#sent = null;
    }
  }
}

/** The id of the newest entry that the stream ever had, trimmed or not; `0-0` when there is no stream. */
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
