import { DurableObject } from "cloudflare:workers";
import type { NewRun } from "../../shared/contracts/run.ts";
import type { Outcome } from "../runs/submit.ts";
import { KeptDatabase } from "../clients/postgres.ts";
import { readConfig } from "../env.ts";
import type { Env } from "../env.ts";
import { queueOf } from "../clients/redis.ts";
import { Intake } from "./intake.ts";

/** A batch needs one; what its refused runs ask for (replays, limits) goes over both. */
const CONNECTIONS = 2;

/** A commit takes milliseconds; who waits for a 202 shall hear before long that Postgres does not answer. */
const ANSWER_MS = 2_000;

/** The intake of one queue shard. It has no storage, and keeps what a request cannot: a connection to Postgres. */
export class IntakeShard extends DurableObject<Env> {
  readonly #intake: Intake;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = readConfig(env);
    const database = new KeptDatabase(env, CONNECTIONS, ANSWER_MS);
    const queue = queueOf(config);
    if (config.ACCEPT_WHEN_REDIS_DOWN) queue.missedAll();
    this.#intake = new Intake({
      config,
      queue,
      query: (question) => database.query(question),
      after: (work) => ctx.waitUntil(work),
    });
  }

  /** Called over RPC by the stateless part of the edge. */
  accept(runs: NewRun[]): Promise<Outcome[]> {
    return Promise.all(runs.map((run) => this.#intake.accept(run)));
  }
}
