import { DurableObject } from "cloudflare:workers";
import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { ACCEPT_MS } from "../../shared/timing.ts";
import { DatabasePool } from "../clients/database-pool.ts";
import { queueOf } from "../clients/redis.ts";
import { readConfig } from "../env.ts";
import type { Env, IntakeObject } from "../env.ts";
import type { SubmitDeps } from "../runs/submit.ts";
import { batchSubmits } from "./batcher.ts";
import type { Batcher } from "./batcher.ts";
import { sizeClassOf } from "../clients/run-size.ts";
import type { SizeClass } from "../clients/run-size.ts";

/** A batch of small and one of large runs need one each; the queries about refused runs (replays, limits) use another. */
const CONNECTIONS = 3;

/** The intake of one queue shard. It stores nothing; it has what a request cannot have: lasting connections to Postgres. */
export class IntakeShard extends DurableObject<Env> implements IntakeObject {
  readonly #batchers: Record<SizeClass, Batcher<NewRun, SubmitResult>>;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = readConfig(env);
    const database = new DatabasePool(env, CONNECTIONS, ACCEPT_MS);
    const queue = queueOf(config);
    if (config.ACCEPT_WHEN_REDIS_DOWN) queue.invalidateAllCounts();
    const deps: SubmitDeps = {
      config,
      queue,
      query: (run) => database.query(run),
      waitUntil: (work) => ctx.waitUntil(work),
    };
    this.#batchers = { small: batchSubmits(deps), large: batchSubmits(deps) };
  }

  /** The stateless part of the edge calls it over RPC. The results are in the order of the runs. */
  submit(runs: NewRun[]): Promise<SubmitResult[]> {
    return Promise.all(runs.map((run) => this.#batchers[sizeClassOf(run)].add(run)));
  }
}
