import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { keys } from "../../shared/keys.ts";
import { readEntries } from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { DatabasePool } from "../clients/postgres.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { LiveFeed } from "./live-feed.ts";
import { RELAY_TIMING, Relay } from "./relay.ts";
import { SSE_HEADERS, reconnectLater } from "./sse.ts";

/**
 * More viewers would not fit the memory and the time of one object; EVENT_SHARDS configures the number of objects.
 */
const MAX_VIEWERS = 2_000;

const MAX_CONNECTIONS = 4;

/** Entries in a page of the journal. */
const PAGE = 200;

const JoinRequest = z.object({
  shard: z.coerce.number().int(),
  run: RunId,
  after: z.coerce.number().int(),
});

/** What is open while there are viewers. It is closed with the last viewer: open sockets keep an object alive. */
type ActiveRelay = {
  relay: Relay;
  feed: LiveFeed;
  database: DatabasePool;
  timer: ReturnType<typeof setInterval>;
};

/**
 * The Durable Object that serves the viewers of one event shard's live runs, over one connection to Redis however
 * many viewers there are. The path of one viewer's request, and of an entry, through the files of this folder:
 *
 *     routes/runs/stream-run → access (may this caller see the run?) → open-stream (live or terminal?)
 *       → RelayShard → Relay → Viewer (what to send) → SseWriter (the bytes)
 *     Redis live stream → LiveFeed → Relay
 *
 * The object has no storage, and does not authorise: the edge does so before it calls.
 */
export class RelayShard extends DurableObject<Env> {
  #active: ActiveRelay | null = null;

  override async fetch(request: Request): Promise<Response> {
    const { shard, run, after } = JoinRequest.parse(Object.fromEntries(new URL(request.url).searchParams));
    const active = (this.#active ??= this.#open(shard));
    if (active.relay.viewers >= MAX_VIEWERS) return reconnectLater();
    const body = active.relay.join(run, after, request.signal, () => this.#closeIfEmpty(active));
    return new Response(body, { headers: SSE_HEADERS });
  }

  #open(shard: number): ActiveRelay {
    const database = new DatabasePool(this.env, MAX_CONNECTIONS, POSTGRES_READ_MS);
    const relay = new Relay({
      page: (run, after) => database.query((sql) => readEntries(sql, run, after, PAGE)),
      positions: (runs) => database.query((sql) => readPositions(sql, runs)),
    });
    const feed = new LiveFeed(readConfig(this.env).REDIS_URL, keys.live(shard), {
      onEntry: (entry) => relay.onEntry(entry),
      onResync: () => relay.resync(),
    });
    this.ctx.waitUntil(feed.follow());
    const timer = setInterval(() => relay.tick(feed.following), RELAY_TIMING.tickMs);
    return { relay, feed, database, timer };
  }

  #closeIfEmpty(active: ActiveRelay): void {
    if (active.relay.viewers > 0 || this.#active !== active) return;
    this.#active = null;
    clearInterval(active.timer);
    active.feed.stop();
    active.database.close();
  }
}
