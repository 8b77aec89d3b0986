/**
 * The edge's objects that serve viewers, in this process. The relay has no live stream: it finds new events only by its
 * periodic check of Postgres.
 */
import { type FeedJoin, type RunJoin } from "../../edge/streaming/viewer-join.ts";
import { FEED_SEATS, noSeat, RUN_SEATS } from "../../edge/streaming/seats.ts";
import { ViewerAdmission } from "../../edge/streaming/viewer-admission.ts";
import { Relay, RELAY_TIMING } from "../../edge/streaming/relay.ts";
import type { FeedReader } from "../../edge/streaming/feed-reads.ts";
import { TenantFeed } from "../../edge/streaming/tenant-feed.ts";
import { entriesFrom, type ReadRange } from "../../shared/archive/read-archive.ts";
import {
  journalClock,
  readEntries,
  readTenantEntries,
  VIEWER_PAGE,
} from "../../shared/store/journal/read-journal.ts";
import { readPositions } from "../../shared/store/runs/read-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { findValidKeys } from "../../shared/store/tenants/api-keys.ts";

export class TestRelay {
  readonly #relay: Relay;
  readonly #admission: ViewerAdmission;
  readonly #timer: NodeJS.Timeout;

  constructor(sql: Sql, readArchive: ReadRange) {
    this.#relay = new Relay({
      async page(run, after) {
        return entriesFrom(readArchive, await readEntries(sql, run, after, VIEWER_PAGE), after, VIEWER_PAGE);
      },
      positions: (runs) => readPositions(sql, runs),
    });
    this.#admission = new ViewerAdmission(RUN_SEATS, (keyIds) => findValidKeys(sql, keyIds));
    this.#timer = setInterval(() => {
      this.#relay.tick(false);
      void this.#admission.tick();
    }, RELAY_TIMING.tickMs);
  }

  readonly open = async (
    { run, after, tenant, keyId, untilMs }: RunJoin,
    signal: AbortSignal,
  ): Promise<Response> => {
    const newcomer = { seat: { tenant, keyId, stream: run }, maxStreams: null, untilMs, signal };
    const response = this.#admission.open(newcomer, (ends, onClosed) =>
      this.#relay.join({ run, tenant, after }, ends, onClosed),
    );
    if (response.status === 429) throw noSeat(null);
    return response;
  };

  stop(): void {
    clearInterval(this.#timer);
    this.#relay.closeAll();
  }
}

export class TestFeeds {
  readonly #sql: Sql;
  readonly #feeds = new Map<string, Promise<{ feed: TenantFeed; admission: ViewerAdmission }>>();
  readonly #timers: NodeJS.Timeout[] = [];

  constructor(sql: Sql) {
    this.#sql = sql;
  }

  readonly open = async ({ tenant, keyId, lastUs }: FeedJoin, signal: AbortSignal): Promise<Response> => {
    const name = tenant ?? "*";
    const opening = this.#feeds.get(name) ?? this.#begin(tenant);
    this.#feeds.set(name, opening);
    const { feed, admission } = await opening;
    const newcomer = {
      seat: { tenant: name, keyId, stream: "feed" },
      maxStreams: null,
      untilMs: null,
      signal,
    };
    const response = admission.open(
      newcomer,
      (ends, onClosed) => feed.join(lastUs, ends, onClosed),
      () => {
        if (admission.viewers === 0) this.#feeds.delete(name);
      },
    );
    if (response.status === 429) throw noSeat(null);
    return response;
  };

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #begin(tenant: FeedJoin["tenant"]) {
    const reader = feedReader(this.#sql, tenant);
    const admission = new ViewerAdmission(FEED_SEATS, (keyIds) => findValidKeys(this.#sql, keyIds));
    this.#timers.push(setInterval(() => void admission.tick(), RELAY_TIMING.tickMs));
    return { feed: new TenantFeed(reader, await reader.clock()), admission };
  }
}

export function feedReader(sql: Sql, tenant: FeedJoin["tenant"]): FeedReader {
  return {
    clock: () => journalClock(sql),
    page: (after, untilUs) => readTenantEntries(sql, tenant, after, untilUs),
  };
}
