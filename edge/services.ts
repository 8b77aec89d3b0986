import type { TenantId } from "../shared/contracts/ids.ts";
import type { EdgeLimits } from "../shared/store/settings.ts";
import type { NewRun, SubmitResult } from "../shared/contracts/run.ts";
import { log } from "../shared/log.ts";
import { eventShardOf } from "../shared/keys.ts";
import type { Sql } from "../shared/store/sql.ts";
import { openArtifacts } from "./clients/artifacts.ts";
import type { ArtifactStore } from "./clients/artifacts.ts";
import type { MailTest, MailTestOutcome } from "../shared/contracts/mail-server.ts";
import { bucketsOf } from "./clients/buckets.ts";
import { askHealth, askMailTest } from "./clients/ask-worker.ts";
import type { WorkerHealth } from "./clients/ask-worker.ts";
import { publish } from "./clients/publish.ts";
import { tryS3 } from "./clients/try-s3.ts";
import { tryPostgres, tryRedis } from "./clients/try-store.ts";
import { liveValuesOf } from "./clients/live-values.ts";
import { RequestRates } from "./http/request-rate.ts";
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
  /** The variables, each replaced by the setting of its name if that is set. */
  config: Config;
  sql: Sql;
  /** From this call on the request's statements take the turns of `caller`: a tenant, or the id of a platform key. */
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
  /** A worker's report of its own health; null when it has not answered after `ms`. @throws AppError `redis_away` */
  askHealth(incarnation: string, ms: number): Promise<WorkerHealth | null>;
  /** A worker's test of a mail server; null when it has not answered in time. @throws AppError `redis_away` */
  askMailTest(incarnation: string, question: string, test: MailTest): Promise<MailTestOutcome | null>;
  /** Makes workers beat at once, as far as Redis is reachable: the reply of their beat has news for them. */
  hintWorkers(incarnations: readonly string[]): Promise<void>;
  /** Connects to a Redis that a caller names, for a test. @throws Error when it cannot be used */
  tryRedis(url: string): Promise<void>;
  /** The same for a Postgres. */
  tryPostgres(url: string): Promise<void>;
  /** The same for a bucket. @throws S3Refusal when the store refuses a request; Error when it cannot be reached */
  tryS3: typeof tryS3;
  /** Reads settings and the limits of this tenant (null: none) again, if they are due. Call it before they are used. */
  refreshLiveValues(tenant: TenantId | null): Promise<void>;
  /** Call it after a change: the next request of this isolate reads the values again. */
  expireLiveValues(): void;
  /** The limits of a tenant that the edge enforces itself; null: they are not known. */
  edgeLimitsOf(tenant: TenantId): EdgeLimits | null;
  requestRates: RequestRates;
  /** False when this address has sent too many keys that this isolate has not cached. */
  mayLookUpKey(address: string): Promise<boolean>;
};

/** Before its caller is known, a request's statements take turns under this name: the look-ups of keys have turns of their own. */
const LOOK_UPS = "";

const rates = new WeakMap<Config, RequestRates>();

/** The rates of an isolate, which all its requests share. */
function requestRatesOf(base: Config): RequestRates {
  const known = rates.get(base);
  if (known) return known;
  const fresh = new RequestRates();
  rates.set(base, fresh);
  return fresh;
}

export type ServicesOf = (env: Env, waitUntil: Services["waitUntil"]) => Services;

/** The services of a request on the platform itself. */
export function openServices(env: Env, waitUntil: Services["waitUntil"]): Services {
  const base = readConfig(env);
  const live = liveValuesOf(base);
  let turns = LOOK_UPS;
  const refresh = (tenant: TenantId | null): Promise<void> =>
    live.refresh((run) => run(sharedDatabase(env, "api", LOOK_UPS, waitUntil)), tenant, waitUntil);
  const maxStreamsOf = async (tenant: TenantId): Promise<number | null> => {
    await refresh(tenant);
    return live.limitsOf(tenant)?.max_open_streams ?? null;
  };
  return {
    get config() {
      return live.config;
    },
    get sql() {
      return sharedDatabase(env, "api", turns, waitUntil);
    },
    get stateSql() {
      return sharedDatabase(env, "state", "", waitUntil);
    },
    takeTurnsOf(caller) {
      turns = caller;
    },
    queue: queueOf(base),
    get artifacts() {
      return openArtifacts(bucketsOf(env, live.config));
    },
    waitUntil,
    submit: (run) => submitToIntake(env, base, { ...run, traceparent: currentTraceparent() }, waitUntil),
    async relay(join, signal) {
      const shard = eventShardOf(join.run, base.EVENT_SHARDS);
      const maxStreams = await maxStreamsOf(join.tenant);
      return streamOf(env.RELAY.getByName(`e${shard}`), { ...join, shard, maxStreams }, signal);
    },
    async feed(join, signal) {
      // No tenant has the name `*`, so it names the feed of all tenants.
      const name = join.tenant ?? "*";
      const maxStreams = join.tenant === null ? null : await maxStreamsOf(join.tenant);
      return streamOf(env.FEED.getByName(name), { ...join, maxStreams }, signal);
    },
    askHealth: (incarnation, ms) => askHealth(base, incarnation, ms),
    askMailTest: (incarnation, question, test) => askMailTest(base, incarnation, question, test),
    async hintWorkers(incarnations) {
      await publish(base, [], incarnations).catch(() => {
        log.info("workers.not_hinted", { workers: incarnations.length });
      });
    },
    tryRedis,
    tryPostgres,
    tryS3,
    refreshLiveValues: refresh,
    expireLiveValues: () => live.expire(),
    edgeLimitsOf: (tenant) => live.limitsOf(tenant),
    requestRates: requestRatesOf(base),
    async mayLookUpKey(address) {
      return env.KEY_LOOKUPS ? (await env.KEY_LOOKUPS.limit({ key: address })).success : true;
    },
  };
}

type StreamLimit = { maxStreams: number | null };

/** A stream of a Durable Object. @throws AppError `too_many_streams` */
async function streamOf(
  object: DurableObjectStub,
  join: (RunJoin & StreamLimit & { shard: number }) | (FeedJoin & StreamLimit),
  signal: AbortSignal,
): Promise<Response> {
  const url = `https://object/?join=${encodeURIComponent(JSON.stringify(join))}`;
  const response = await object.fetch(url, { signal });
  if (response.status === 429) throw noSeat(join.maxStreams);
  // The headers of a fetched response are immutable, those of a copy are not.
  return new Response(response.body, response);
}
