import { DurableObject } from "cloudflare:workers";
import { journalClock, readTenantEntries } from "../../shared/store/journal/read-journal.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";
import { POSTGRES_READ_MS } from "../../shared/timing.ts";
import { DatabasePool } from "../clients/database-pool.ts";
import type { Env } from "../env.ts";
import { FeedJoin } from "./viewer-join.ts";
import { FEED_SEATS } from "./seats.ts";
import { ViewerAdmission } from "./viewer-admission.ts";
import { TenantFeed } from "./tenant-feed.ts";

/** One connection for the poll, and one for viewers that catch up. */
const MAX_CONNECTIONS = 2;

const TICK_MS = 1_000;

/** The parts of a feed that has viewers. They are closed with the last viewer, because open sockets keep an object alive. */
type ActiveFeed = {
  admission: ViewerAdmission;
  feed: TenantFeed;
  database: DatabasePool;
  timer: ReturnType<typeof setInterval>;
};

/**
 * The Durable Object that serves all viewers of one tenant's feed by one poll of Postgres, however many viewers there are. It has
 * no storage, and does not authorise: the edge does so before it calls the object.
 */
export class FeedShard extends DurableObject<Env> {
  #active: Promise<ActiveFeed> | null = null;

  /** Replies 429 to a viewer for which there is no seat. @throws the driver's errors while Postgres is unreachable */
  override async fetch(request: Request): Promise<Response> {
    const join = new URL(request.url).searchParams.get("join") ?? "";
    const { tenant, keyId, lastUs, maxStreams } = FeedJoin.parse(JSON.parse(join));
    const opening = (this.#active ??= this.#open(tenant));
    const active = await opening.catch((error: unknown) => {
      if (this.#active === opening) this.#active = null;
      throw error;
    });
    return active.admission.open(
      {
        seat: { tenant: tenant ?? "", keyId, stream: "feed" },
        maxStreams,
        untilMs: null,
        signal: request.signal,
      },
      (signal, onClosed) => active.feed.join(lastUs, signal, onClosed),
      () => {
        if (active.admission.viewers > 0 || this.#active !== opening) return;
        this.#active = null;
        clearInterval(active.timer);
        active.database.close();
      },
    );
  }

  async #open(tenant: FeedJoin["tenant"]): Promise<ActiveFeed> {
    const database = new DatabasePool(this.env, MAX_CONNECTIONS, POSTGRES_READ_MS);
    try {
      const clock = () => database.query((sql) => journalClock(sql));
      const feed = new TenantFeed(
        {
          clock,
          page: (after, untilUs) => database.query((sql) => readTenantEntries(sql, tenant, after, untilUs)),
        },
        await clock(),
      );
      const admission = new ViewerAdmission(FEED_SEATS, (keyIds) =>
        database.query((sql) => findValidKeys(sql, keyIds)),
      );
      const timer = setInterval(() => void admission.tick(), TICK_MS);
      return { admission, feed, database, timer };
    } catch (error) {
      database.close();
      throw error;
    }
  }
}
