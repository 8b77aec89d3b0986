import { DurableObject } from "cloudflare:workers";
import { Redis } from "ioredis";
import { z } from "zod";
import { readLive } from "../../shared/events/live.ts";
import type { LiveEntry } from "../../shared/events/live.ts";
import { keys } from "../../shared/keys.ts";
import { log } from "../../shared/log.ts";
import { entriesFrom } from "../../shared/archive/read-archive.ts";
import { VIEWER_PAGE, readEntries } from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";
import { POSTGRES_READ_MS, LIVE_BLOCK_MS, LIVE_DEAD_MS } from "../../shared/timing.ts";
import { openArtifacts } from "../clients/artifacts.ts";
import { DatabasePool } from "../clients/database-pool.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { pause } from "../http/pause.ts";
import { RELAY_TIMING, Relay } from "./relay.ts";
import { RunJoin } from "./viewer-join.ts";
import { RUN_SEATS } from "./seats.ts";
import { ViewerAdmission } from "./viewer-admission.ts";

const MAX_CONNECTIONS = 4;

const JoinRequest = RunJoin.extend({ shard: z.number().int() });

/** The parts of a relay that has viewers. They are closed with the last viewer, because open sockets keep an object alive. */
type ActiveRelay = {
  admission: ViewerAdmission;
  relay: Relay;
  feed: LiveFeed;
  database: DatabasePool;
  timer: ReturnType<typeof setInterval>;
};

/**
 * The Durable Object that serves the viewers of the runs of one event shard, over one connection to Redis however many
 * viewers there are. The path of one viewer's request, and of an entry, through the files of this folder:
 *
 *     routes/runs/stream-run → open-stream (may this caller see the run?) → RelayShard
 *       → ViewerAdmission (is there a seat?) → Relay → Viewer (what to send) → SseWriter (the bytes)
 *     Redis live stream → LiveFeed → Relay
 *
 * The object has no storage, and does not authorise: the edge does so before it calls the object.
 */
export class RelayShard extends DurableObject<Env> {
  #active: ActiveRelay | null = null;

  /** Replies 429 to a viewer for which there is no seat. */
  override async fetch(request: Request): Promise<Response> {
    const join = new URL(request.url).searchParams.get("join") ?? "";
    const { shard, run, after, tenant, keyId, untilMs, maxStreams } = JoinRequest.parse(JSON.parse(join));
    const active = (this.#active ??= this.#open(shard));
    return active.admission.open(
      { seat: { tenant, keyId, stream: run }, maxStreams, untilMs, signal: request.signal },
      (signal, onClosed) => active.relay.join({ run, tenant, after }, signal, onClosed),
      () => this.#closeIfEmpty(active),
    );
  }

  #open(shard: number): ActiveRelay {
    const database = new DatabasePool(this.env, MAX_CONNECTIONS, POSTGRES_READ_MS);
    const { readBytes } = openArtifacts(this.env);
    const relay = new Relay({
      async page(run, after, tenant) {
        const read = (sql: Sql) => readEntries(sql, run, after, VIEWER_PAGE);
        const found = await database.query(read, { tenant, bytes: 0 });
        return entriesFrom(readBytes, found, after, VIEWER_PAGE);
      },
      positions: (runs, tenant = "") =>
        database.query((sql) => readPositions(sql, runs), { tenant, bytes: 0 }),
    });
    const feed = new LiveFeed(readConfig(this.env).REDIS_URL, keys.live(shard), {
      onEntry: (entry) => relay.onEntry(entry),
      onResync: () => relay.resync(),
    });
    this.ctx.waitUntil(feed.follow());
    const admission = new ViewerAdmission(RUN_SEATS, (keyIds) =>
      database.query((sql) => findValidKeys(sql, keyIds)),
    );
    const timer = setInterval(() => {
      relay.tick(feed.following);
      void admission.tick();
    }, RELAY_TIMING.tickMs);
    return { admission, relay, feed, database, timer };
  }

  #closeIfEmpty(active: ActiveRelay): void {
    if (active.relay.viewers > 0 || this.#active !== active) return;
    this.#active = null;
    clearInterval(active.timer);
    active.feed.stop();
    active.database.close();
  }
}

const RECONNECT_MS = 500;

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
  readonly #url: string;
  readonly #key: string;
  readonly #listener: FeedListener;
  readonly #stopping = new AbortController();
  #cursor: string | null = null;
  #following = false;

  constructor(url: string, key: string, listener: FeedListener) {
    this.#url = url;
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
      const redis = connect(this.#url);
      const close = () => redis.disconnect();
      signal.addEventListener("abort", close);
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
      const reply = Reply.parse(await within(LIVE_DEAD_MS, read));
      // A cursor beyond the stream's end gets an empty reply too: then the cursor has to be resolved again.
      cursorIsValid = reply !== null;
      for (const [id, fields] of reply?.[0]?.[1] ?? []) {
        this.#cursor = id;
        const entry = readLive(fields);
        if (entry) this.#listener.onEntry(entry);
      }
    }
  }

  async #resolveCursor(redis: Redis): Promise<void> {
    const last = await within(LIVE_DEAD_MS, lastId(redis, this.#key));
    if (this.#cursor !== null && !isBefore(last, this.#cursor)) return;
    this.#cursor = last;
    this.#listener.onResync();
  }
}

function connect(url: string): Redis {
  const redis = new Redis(url, {
    // In RESP3 some replies are flattened.
    protocol: 2,
    lazyConnect: true,
    connectTimeout: 2_000,
    enableReadyCheck: false,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
  });
  // The same error also rejects the pending command.
  redis.on("error", () => {});
  return redis;
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

/** @throws Error when `work` takes longer than `ms` */
async function within<Value>(ms: number, work: Promise<Value>): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Redis did not reply within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
