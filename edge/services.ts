import type { NewRun, SubmitResult } from "../shared/contracts/run.ts";
import { log } from "../shared/log.ts";
import { eventShardOf } from "../shared/keys.ts";
import type { Sql } from "../shared/store/sql.ts";
import { openArtifacts } from "./clients/artifacts.ts";
import type { ArtifactStore } from "./clients/artifacts.ts";
import { askHealth } from "./clients/ask-worker.ts";
import type { WorkerHealth } from "./clients/ask-worker.ts";
import { publish } from "./clients/publish.ts";
import { tryPostgres, tryRedis } from "./clients/try-store.ts";
import { sharedDatabase } from "./clients/database.ts";
import { submitToIntake } from "./intake/submit-to-intake.ts";
import { queueOf } from "./runs/admit.ts";
import type { EdgeQueue } from "./runs/admit.ts";
import { readConfig } from "./env.ts";
import type { Config, Env } from "./env.ts";
import type { FeedJoin, RunJoin } from "./streaming/viewer-join.ts";
import { noSeat } from "./streaming/seats.ts";
import { currentTraceparent } from "./tracing/current-span.ts";

/** The stores and Durable Objects that the routes use, for one request. */
export type Services = {
  config: Config;
  sql: Sql;
  /** From this call on the request's statements take the turns of this caller: a tenant, or a platform key. */
  takeTurnsOf(caller: string): void;
  /** Postgres for the statements of workers: they do not wait for those of clients. */
  stateSql: Sql;
  queue: EdgeQueue;
  artifacts: ArtifactStore;
  /** Keeps the request alive until the work has ended, also after its response. */
  waitUntil(work: Promise<unknown>): void;
  /** Admits and commits a run in a batch with others: docs/protocol.md 5.1. */
  submit(run: NewRun): Promise<SubmitResult>;
  /**
   * The events of a run after number `after`, from the relay of its shard.
   * @throws AppError `too_many_streams`
   */
  relay(join: RunJoin, signal: AbortSignal): Promise<Response>;
  /**
   * The events of all runs of a tenant, from the feed that its viewers share.
   * @throws AppError `too_many_streams`
   */
  feed(join: FeedJoin, signal: AbortSignal): Promise<Response>;
  /** A worker's own report of its health; null when it has not answered after `ms`. @throws AppError `redis_away` */
  askHealth(incarnation: string, ms: number): Promise<WorkerHealth | null>;
  /** Makes workers beat at once, as far as Redis is reachable: the reply of their beat has news for them. */
  hintWorkers(incarnations: readonly string[]): Promise<void>;
  /** Connects to another store than this edge's own. @throws Error when it cannot be used */
  tryRedis(url: string): Promise<void>;
  tryPostgres(url: string): Promise<void>;
  /** False when this address has sent too many keys that this isolate has not cached. */
  mayLookUpKey(address: string): Promise<boolean>;
};

/** The name under which a statement takes turns before its caller is known: the look-ups of keys have turns of their own. */
const LOOK_UPS = "";

export type ServicesOf = (env: Env, waitUntil: Services["waitUntil"]) => Services;

/** The services of a request on the platform itself. */
export function openServices(env: Env, waitUntil: Services["waitUntil"]): Services {
  const config = readConfig(env);
  let turns = LOOK_UPS;
  return {
    config,
    get sql() {
      return sharedDatabase(env, "api", turns, waitUntil);
    },
    get stateSql() {
      return sharedDatabase(env, "state", "", waitUntil);
    },
    takeTurnsOf(caller) {
      turns = caller;
    },
    queue: queueOf(config),
    artifacts: openArtifacts(env),
    waitUntil,
    submit: (run) => submitToIntake(env, config, { ...run, traceparent: currentTraceparent() }, waitUntil),
    async relay(join, signal) {
      const shard = eventShardOf(join.run, config.EVENT_SHARDS);
      return streamOf(env.RELAY.getByName(`e${shard}`), { ...join, shard }, signal);
    },
    feed(join, signal) {
      // Not the name of a tenant: the feed of all tenants.
      const name = join.tenant ?? "*";
      return streamOf(env.FEED.getByName(name), join, signal);
    },
    askHealth: (incarnation, ms) => askHealth(config, incarnation, ms),
    async hintWorkers(incarnations) {
      await publish(config, [], incarnations).catch(() => {
        log.info("workers.not_hinted", { workers: incarnations.length });
      });
    },
    tryRedis,
    tryPostgres,
    async mayLookUpKey(address) {
      return env.KEY_LOOKUPS ? (await env.KEY_LOOKUPS.limit({ key: address })).success : true;
    },
  };
}

/** A stream of a Durable Object. @throws AppError `too_many_streams` */
async function streamOf(object: DurableObjectStub, join: object, signal: AbortSignal): Promise<Response> {
  const url = `https://object/?join=${encodeURIComponent(JSON.stringify(join))}`;
  const response = await object.fetch(url, { signal });
  if (response.status === 429) throw noSeat();
  // The headers of a fetched response are immutable, those of a copy are not.
  return new Response(response.body, response);
}
