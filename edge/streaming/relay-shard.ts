import { DurableObject } from "cloudflare:workers";
import { z } from "zod";
import { keys } from "../../shared/keys.ts";
import { entriesFrom } from "../../shared/archive/read-archive.ts";
import { VIEWER_PAGE, readEntries } from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { openArtifacts } from "../clients/artifacts.ts";
import { bucketsOf } from "../clients/buckets.ts";
import { liveValuesOf } from "../clients/live-values.ts";
import type { ReadRange } from "../../shared/archive/read-archive.ts";
import { DatabasePool } from "../clients/database-pool.ts";
import { openDirectRedis } from "../clients/direct-socket.ts";
import { FOLLOWED_REDIS } from "../clients/redis-settings.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { LiveFeed } from "./live-feed.ts";
import { RELAY_TIMING, Relay } from "./relay.ts";
import type { JournalReader } from "./relay.ts";
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
    const live = liveValuesOf(readConfig(this.env));
    const readBytes: ReadRange = async (...range) => {
      await live.refresh(
        (run) => database.query(run, { tenant: "", bytes: 0 }),
        null,
        (work) => this.ctx.waitUntil(work),
      );
      return openArtifacts(bucketsOf(this.env, live.config)).readBytes(...range);
    };
    const journal: JournalReader = {
      async page(run, after, tenant) {
        const read = (sql: Sql) => readEntries(sql, run, after, VIEWER_PAGE);
        const found = await database.query(read, { tenant, bytes: 0 });
        return entriesFrom(readBytes, found, after, VIEWER_PAGE);
      },
      positions: (runs, tenant = "") =>
        database.query((sql) => readPositions(sql, runs), { tenant, bytes: 0 }),
    };
    const relay = new Relay(journal, RELAY_TIMING, () => feed.missed());
    const { REDIS_URL } = readConfig(this.env);
    const feed = new LiveFeed(() => openDirectRedis(REDIS_URL, FOLLOWED_REDIS), keys.live(shard), {
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
