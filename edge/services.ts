import type { NewRun } from "../shared/contracts/run.ts";
import type { RunId } from "../shared/contracts/ids.ts";
import { Queue } from "../shared/queue/queue.ts";
import type { Sql } from "../shared/store/sql.ts";
import { eventShardOf } from "../shared/keys.ts";
import { accept } from "./accept.ts";
import type { Outcome } from "./accept.ts";
import { openDatabase } from "./database.ts";
import { readConfig } from "./env.ts";
import type { Config, Env } from "./env.ts";
import { log } from "./log.ts";
import { restCommands } from "./redis.ts";

/** What the routes ask of the world, for one request. */
export type Services = {
  config: Config;
  sql: Sql;
  queue: Queue;
  /** Lets work go on after the answer. */
  after(work: Promise<unknown>): void;
  /** Admits and commits a run: PROTOCOL.md 5.1. */
  accept(run: NewRun): Promise<Outcome>;
  /** The events of a live run after number `after`, from the relay of its shard. */
  relay(run: RunId, after: number, signal: AbortSignal): Promise<Response>;
  /** How often a caller may present a key that this isolate does not know; false: enough. */
  mayLookUpKey(address: string): Promise<boolean>;
};

export type ServicesOf = (env: Env, after: (work: Promise<unknown>) => void) => Services;

/** The services of a request on the platform itself. */
export function openServices(env: Env, after: (work: Promise<unknown>) => void): Services {
  const config = readConfig(env);
  const queue = new Queue(restCommands(config), config.QUEUE_SHARDS);
  // Opened by the first who asks: many requests need no Postgres, and a connection is what costs most here.
  let database: Sql | undefined;
  return {
    config,
    get sql() {
      return (database ??= openDatabase(env.HYPERDRIVE));
    },
    queue,
    after,
    async accept(run) {
      const { outcomes, finishing } = await accept({ config, queue, sql: this.sql }, [run]);
      after(finishing().catch(unfinished));
      const [outcome] = outcomes;
      if (!outcome) throw new Error(`no outcome for ${run.run_id}`);
      return outcome;
    },
    relay(run, afterSeq, signal) {
      const shard = eventShardOf(run, config.EVENT_SHARDS);
      const url = `https://relay/?shard=${shard}&run=${run}&after=${afterSeq}`;
      return env.RELAY.getByName(`e${shard}`).fetch(url, { signal });
    },
    async mayLookUpKey(address) {
      return env.KEY_LOOKUPS ? (await env.KEY_LOOKUPS.limit({ key: address })).success : true;
    },
  };
}

/** The runs are committed: what the queue was not told now, the reconciler tells it; a reserved place lapses. */
function unfinished(error: unknown): void {
  log.info("accept.queue_not_told", { error: error instanceof Error ? error.message : "unknown" });
}
