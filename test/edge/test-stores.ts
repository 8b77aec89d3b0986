/** The stores of one test: Postgres, Redis with its REST front, and the Worker's variables for them. */
import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import postgres from "postgres";
import { newIncarnation, RunId, TenantId } from "../../shared/contracts/ids.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import { Scope } from "../../shared/contracts/tenant.ts";
import { writeLine } from "../../shared/events/lines.ts";
import { xaddArgs } from "../../shared/events/live.ts";
import { eventShardOf, keys } from "../../shared/keys.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { newApiKey, saveApiKey } from "../../shared/store/tenants/api-keys.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { testConnection } from "../services/databases.ts";
import type { Service } from "../../local/processes/child.ts";
import { startRestFront } from "../../worker-node/redis-rest/start-rest-front.ts";
import { parseRedisUrl } from "../../worker-node/clients/redis-url.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { freshDatabase, startRedis } from "../services/services.ts";

export type TestStores = {
  sql: Sql;
  postgresUrl: string;
  redis: Redis;
  service: Service;
  queue: Queue;
  /** The Worker's variables and secrets. */
  vars: Record<string, string>;
  /** Makes an API key, by default with all scopes; `tenant` null: a platform key. */
  key(tenant: string | null, scopes?: readonly Scope[], expiresAt?: Date): Promise<string>;
  /** Runs `act` while the edge cannot reach Redis; Redis loses nothing. */
  withoutRedis<Result>(act: () => Promise<Result>): Promise<Result>;
  stop(): Promise<void>;
};

const STREAM_SECRET = "a-secret-for-stream-tokens";
export const STATE_SECRET = "a-secret-for-the-state-route";
export const MASTER_KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/** `eventShards`: the number of relay objects. `database`: the URL of a migrated database, for tests that stop their own. */
export async function startTestStores(eventShards = 1, database = freshDatabase()): Promise<TestStores> {
  const [postgresUrl, service] = await Promise.all([database, startRedis()]);
  const sql = postgres(postgresUrl, { ...testConnection, max: 4 });
  const redis = new Redis(service.url, { protocol: 2 });
  redis.on("error", () => {});
  const token = randomBytes(12).toString("hex");
  const target = parseRedisUrl({ REDIS_URL: service.url });
  const startFront = (port: number) =>
    startRestFront({ target, token, host: "127.0.0.1", port, timeoutMs: 60_000, origins: [] });
  let front = await startFront(0);
  const queue = new Queue(scriptCommands(redis), 1);
  await completeIndex(queue);
  return {
    sql,
    postgresUrl,
    redis,
    service,
    queue,
    vars: {
      UPSTASH_REDIS_REST_URL: `http://127.0.0.1:${front.port}`,
      UPSTASH_REDIS_REST_TOKEN: token,
      REDIS_URL: service.url,
      STREAM_TOKEN_SECRET: STREAM_SECRET,
      STATE_SECRET,
      EVENT_SHARDS: String(eventShards),
    },
    async withoutRedis(act) {
      await front.stop();
      try {
        return await act();
      } finally {
        front = await startFront(front.port);
      }
    },
    async key(tenant, scopes = Scope.options, expiresAt) {
      const key = newApiKey();
      const owner = tenant === null ? null : TenantId.parse(tenant);
      await saveApiKey(sql, key, { tenant: owner, name: "test", scopes, ...(expiresAt && { expiresAt }) });
      return key;
    },
    async stop() {
      redis.disconnect();
      await Promise.all([sql.end({ timeout: 1 }), front.stop()]);
      await service.stop();
    },
  };
}

/** Gives an empty shard its index and makes it quota ready, as a rebuild does. */
export async function completeIndex(queue: Queue): Promise<void> {
  await makeQuotaReady(queue, 0, Date.now());
}

/** An orchestration of two steps that all tenants share. */
export const SMOKE = {
  name: "Smoke",
  description: "Two steps",
  entry_step_id: "one",
  steps: [
    { id: "one", name: "One", type: "print", print_content: "1", output_key: "a", next_step_id: "two" },
    { id: "two", name: "Two", type: "print", print_content: "2", output_key: "b" },
  ],
};

/** A fake worker that commits entries of one run by SQL of its own and publishes them, for tests of streams. */
export class FakeJournalWriter {
  readonly #stores: TestStores;
  readonly run: RunId;
  seq = 0;

  constructor(stores: TestStores, run: string) {
    this.#stores = stores;
    this.run = RunId.parse(run);
  }

  async claim(): Promise<void> {
    await this.#stores.sql`
      update runs set status = 'running', attempt = attempt + 1, owner = ${newIncarnation("writer")}, worker_id = 'writer',
        started_at = coalesce(started_at, now()), deadline_at = now() + interval '60 s'
      where run_id = ${this.run}`;
  }

  /** Commits one entry with these events, and publishes it unless `live` is false. */
  async write(events: RunEvent[], { live = true, ends = false } = {}): Promise<void> {
    this.seq += events.length;
    const lines = events.map((event) => writeLine(event, new Date(), this.run)).join("\n");
    const output = ends
      ? JSON.stringify({ status: "completed", checkpoint: null, response: "ok", error: null })
      : null;
    await this.#stores.sql`
      with moved as (
        update runs set event_seq = ${this.seq},
          status = case when ${ends} then 'completed' else status end,
          owner = case when ${ends} then null else owner end,
          wake_at = case when ${ends} then null else wake_at end,
          ended_at = case when ${ends} then now() end
        where run_id = ${this.run} returning attempt)
      insert into journal (run_id, seq, events_n, attempt, kind, output, events)
      select ${this.run}, ${this.seq}, ${events.length}, attempt, ${ends ? "end" : "note"}, ${output}, ${lines} from moved`;
    if (!live) return;
    const entry = { run: this.run, seq: this.seq, events_n: events.length, events: lines, last: ends };
    const shard = eventShardOf(this.run, Number(this.#stores.vars.EVENT_SHARDS));
    await this.#stores.redis.call("XADD", ...xaddArgs(keys.live(shard), entry));
  }

  text(text: string, live = true): Promise<void> {
    return this.write([{ type: "llm_delta", orch_step_id: "one", text }], { live });
  }

  end(live = true): Promise<void> {
    const complete: RunEvent = {
      type: "orchestration_complete",
      status: "completed",
      final_state: { a: "1" },
    };
    return this.write([complete, { type: "done" }], { live, ends: true });
  }
}
