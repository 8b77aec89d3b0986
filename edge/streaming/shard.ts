import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { keys } from "../../shared/keys.ts";
import { readEntries } from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import { KeptDatabase } from "../clients/postgres.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { LiveFeed } from "./live-feed.ts";
import { Relay, TIMING } from "./relay.ts";
import { SSE_HEADERS, comeBack } from "./sse.ts";

/** More would not fit the memory and the time of one object; the number of shards is configuration. */
const MAX_VIEWERS = 2_000;

const CONNECTIONS = 4;
/** Longer than the database lets a statement run. */
const ANSWER_MS = 6_000;

/** Entries a page of the journal has at most. */
const PAGE = 200;

const Join = z.object({
  shard: z.coerce.number().int(),
  run: RunId,
  after: z.coerce.number().int(),
});

/** What is open while there are viewers, and closed when the last one has gone: open sockets keep an object alive. */
type Watch = { relay: Relay; feed: LiveFeed; database: KeptDatabase; timer: ReturnType<typeof setInterval> };

/**
 * The relay of one event shard: one connection to Redis, whatever the number of its viewers.
 *
 * It has no storage. The edge has authorised who comes here.
 */
export class RelayShard extends DurableObject<Env> {
  #watch: Watch | null = null;

  override async fetch(request: Request): Promise<Response> {
    const { shard, run, after } = Join.parse(Object.fromEntries(new URL(request.url).searchParams));
    const watch = (this.#watch ??= this.#open(shard));
    if (watch.relay.viewers >= MAX_VIEWERS) return comeBack();
    const body = watch.relay.join(run, after, request.signal, () => this.#closeIfEmpty(watch));
    return new Response(body, { headers: SSE_HEADERS });
  }

  #open(shard: number): Watch {
    const database = new KeptDatabase(this.env, CONNECTIONS, ANSWER_MS);
    const relay = new Relay({
      page: (run, after) => database.query((sql) => readEntries(sql, run, after, PAGE)),
      positions: (runs) => database.query((sql) => readPositions(sql, runs)),
    });
    const feed = new LiveFeed(readConfig(this.env).REDIS_URL, keys.live(shard), {
      entry: (entry) => relay.hear(entry),
      doubt: () => relay.doubt(),
    });
    this.ctx.waitUntil(feed.follow());
    const timer = setInterval(() => relay.tick(feed.following), TIMING.tickMs);
    return { relay, feed, database, timer };
  }

  #closeIfEmpty(watch: Watch): void {
    if (watch.relay.viewers > 0 || this.#watch !== watch) return;
    this.#watch = null;
    clearInterval(watch.timer);
    watch.feed.stop();
    watch.database.close();
  }
}
