import type { NewRun } from "../../shared/contracts/run.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { accept } from "../accept.ts";
import type { Outcome } from "../accept.ts";
import type { Config } from "../env.ts";
import { log } from "../log.ts";
import { toAppError } from "../problem.ts";
import type { EdgeQueue } from "../redis.ts";
import { Gatherer } from "./gatherer.ts";

/** What an intake needs. `ask` runs a question on a connection to Postgres that is kept from batch to batch. */
export type IntakeStores = {
  config: Config;
  queue: EdgeQueue;
  ask<Answer>(question: (sql: Sql) => Promise<Answer>): Promise<Answer>;
  /** Lets work go on after the answers. */
  after(work: Promise<unknown>): void;
};

/**
 * Accepts the runs that many requests bring at the same time: they share one `admit`, one INSERT with its commit and
 * one `enqueue`. Measured against a connection to Postgres for each request (64 clients, Miniflare, a loaded machine
 * of two cores): 550 against 80 runs a second.
 *
 * It stores nothing: when it goes, the requests in flight fail as they would without it.
 */
export class Intake {
  readonly #gatherer: Gatherer<NewRun, Outcome>;

  constructor({ config, queue, ask, after }: IntakeStores) {
    this.#gatherer = new Gatherer(async (runs) => {
      try {
        const { outcomes, finishing } = await ask((sql) => accept({ config, queue, sql }, runs));
        after(finishing().catch(logUnfinished));
        return outcomes;
      } catch (error) {
        const failure = failureOf(error);
        return runs.map(() => failure);
      }
    });
  }

  /** What becomes of a run, a failure included: as data, because an error loses its kind between objects. */
  accept(run: NewRun): Promise<Outcome> {
    return this.#gatherer.add(run);
  }
}

function failureOf(error: unknown): Outcome {
  const { code, message, retryAfterSeconds } = toAppError(error);
  if (code === "internal") {
    log.error("intake.failed", {
      error: error instanceof Error ? (error.stack ?? error.message) : "unknown",
    });
  }
  const failure = { ok: false as const, code, detail: message };
  return retryAfterSeconds === undefined ? failure : { ...failure, retryAfterSeconds };
}

/** The runs are committed: what the queue was not told now, the reconciler tells it; a reserved place lapses. */
function logUnfinished(error: unknown): void {
  log.info("intake.queue_not_told", { error: error instanceof Error ? error.message : "unknown" });
}
