import type { RunId } from "../shared/contracts/ids.ts";
import type { NewRun, SubmitResult } from "../shared/contracts/run.ts";
import { eventShardOf } from "../shared/keys.ts";
import type { Sql } from "../shared/store/sql.ts";
import { submitToIntake } from "./clients/intake.ts";
import { openDatabase } from "./clients/postgres.ts";
import { queueOf } from "./clients/redis.ts";
import type { EdgeQueue } from "./clients/redis.ts";
import { readConfig } from "./env.ts";
import type { Config, Env } from "./env.ts";

/** The stores and Durable Objects that the routes use, for one request. */
export type Services = {
  config: Config;
  sql: Sql;
  queue: EdgeQueue;
  /** Keeps the request alive until the work has ended, also after its response. */
  waitUntil(work: Promise<unknown>): void;
  /** Admits and commits a run in a batch with others: docs/protocol.md 5.1. */
  submit(run: NewRun): Promise<SubmitResult>;
  /** The events of a live run after number `after`, from the relay of its shard. */
  relay(run: RunId, after: number, signal: AbortSignal): Promise<Response>;
  /** False when this address has sent too many keys that this isolate has not cached. */
  mayLookUpKey(address: string): Promise<boolean>;
};

export type ServicesOf = (env: Env, waitUntil: Services["waitUntil"]) => Services;

/** The services of a request on the platform itself. */
export function openServices(env: Env, waitUntil: Services["waitUntil"]): Services {
  const config = readConfig(env);
  // Opened on first use: many requests need no Postgres, and the connection is the most expensive of the services.
  let database: Sql | undefined;
  return {
    config,
    get sql() {
      return (database ??= openDatabase(env));
    },
    queue: queueOf(config),
    waitUntil,
    submit: (run) => submitToIntake(env, config, run, waitUntil),
    async relay(run, after, signal) {
      const shard = eventShardOf(run, config.EVENT_SHARDS);
      const url = `https://relay/?shard=${shard}&run=${run}&after=${after}`;
      const response = await env.RELAY.getByName(`e${shard}`).fetch(url, { signal });
      // The headers of a fetched response are immutable, those of a copy are not.
      return new Response(response.body, response);
    },
    async mayLookUpKey(address) {
      return env.KEY_LOOKUPS ? (await env.KEY_LOOKUPS.limit({ key: address })).success : true;
    },
  };
}
