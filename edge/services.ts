import type { NewRun } from "../shared/contracts/run.ts";
import type { RunId } from "../shared/contracts/ids.ts";
import { AppError } from "../shared/errors.ts";
import type { Sql } from "../shared/store/sql.ts";
import { eventShardOf, queueShardOf } from "../shared/keys.ts";
import type { Outcome } from "./runs/submit.ts";
import type { RunQuery } from "./runs/admit.ts";
import { openDatabase } from "./clients/postgres.ts";
import { readConfig } from "./env.ts";
import type { Config, Env } from "./env.ts";
import { queueOf } from "./clients/redis.ts";
import { Combiner } from "./intake/combiner.ts";
import type { EdgeQueue } from "./clients/redis.ts";

/** What the routes ask of the world, for one request. */
export type Services = {
  config: Config;
  sql: Sql;
  query: RunQuery;
  queue: EdgeQueue;
  /** Lets work go on after the answer. */
  after(work: Promise<unknown>): void;
  /** Admits and commits a run, together with others: docs/protocol.md 5.1. */
  accept(run: NewRun): Promise<Outcome>;
  /** The events of a live run after number `after`, from the relay of its shard. */
  relay(run: RunId, after: number, signal: AbortSignal): Promise<Response>;
  /** How often a caller may present a key that this isolate does not know; false: enough. */
  mayLookUpKey(address: string): Promise<boolean>;
};

export type ServicesOf = (env: Env, after: (work: Promise<unknown>) => void) => Services;

const combiners = new WeakMap<Config, Combiner<NewRun, Outcome>[]>();

/** For each queue shard what lets the requests of this isolate share their calls to its intake. */
function combinersOf(config: Config): Combiner<NewRun, Outcome>[] {
  const known = combiners.get(config);
  if (known) return known;
  const fresh = Array.from({ length: config.QUEUE_SHARDS }, () => new Combiner<NewRun, Outcome>());
  combiners.set(config, fresh);
  return fresh;
}

/** The services of a request on the platform itself. */
export function openServices(env: Env, after: (work: Promise<unknown>) => void): Services {
  const config = readConfig(env);
  const queue = queueOf(config);
  // Opened by the first who asks: many requests need no Postgres, and a connection is what costs most here.
  let database: Sql | undefined;
  const services: Services = {
    config,
    get sql() {
      return (database ??= openDatabase(env));
    },
    query: (question) => question(services.sql),
    queue,
    after,
    async accept(run) {
      const shard = queueShardOf(run.tenant_id, queue.shards);
      try {
        const call = (runs: NewRun[]) => env.INTAKE.getByName(`i${shard}`).accept(runs);
        const combiner = combinersOf(config)[shard];
        if (!combiner) throw new Error(`there is no shard ${shard}`);
        return await combiner.ask(run, call, after);
      } catch (cause) {
        // The object was moved or is overloaded; nobody knows what it had committed.
        const detail =
          "It is not known whether the run was accepted; try again, best with an Idempotency-Key.";
        throw new AppError("capacity", detail, { retryAfterSeconds: 1, cause });
      }
    },
    async relay(run, afterSeq, signal) {
      const shard = eventShardOf(run, config.EVENT_SHARDS);
      const url = `https://relay/?shard=${shard}&run=${run}&after=${afterSeq}`;
      const answer = await env.RELAY.getByName(`e${shard}`).fetch(url, { signal });
      // The headers of what was fetched cannot be changed, those of a copy can.
      return new Response(answer.body, answer);
    },
    async mayLookUpKey(address) {
      return env.KEY_LOOKUPS ? (await env.KEY_LOOKUPS.limit({ key: address })).success : true;
    },
  };
  return services;
}
