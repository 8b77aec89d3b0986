import { DurableObject } from "cloudflare:workers";
import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { ACCEPT_MS } from "../../shared/timing.ts";
import { DatabasePool } from "../clients/postgres.ts";
import { queueOf } from "../clients/redis.ts";
import { readConfig } from "../env.ts";
import type { Env, IntakeObject } from "../env.ts";
import { batchSubmits } from "./batcher.ts";
import type { Batcher } from "./batcher.ts";

/** A batch needs one connection; the queries about its refused runs (replays, limits) use both. */
const CONNECTIONS = 2;

/** The intake of one queue shard. It stores nothing; it has what a request cannot have: lasting connections to Postgres. */
export class IntakeShard extends DurableObject<Env> implements IntakeObject {
  readonly #batcher: Batcher<NewRun, SubmitResult>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = readConfig(env);
    const database = new DatabasePool(env, CONNECTIONS, ACCEPT_MS);
    const queue = queueOf(config);
    if (config.ACCEPT_WHEN_REDIS_DOWN) queue.invalidateAllCounts();
    this.#batcher = batchSubmits({
      config,
      queue,
      query: (run) => database.query(run),
      waitUntil: (work) => ctx.waitUntil(work),
    });
  }

  /** The stateless part of the edge calls it over RPC. The results are in the order of the runs. */
  submit(runs: NewRun[]): Promise<SubmitResult[]> {
    return Promise.all(runs.map((run) => this.#batcher.add(run)));
  }
}
