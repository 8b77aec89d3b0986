import type { NewRun, SubmitResult } from "../../shared/contracts/run.ts";
import { AppError } from "../../shared/errors.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { Combiner } from "../clients/combiner.ts";
import type { Sized } from "../clients/fair-queue.ts";
import type { Config, Env } from "../env.ts";

type RunCombiner = Combiner<NewRun, SubmitResult>;
const combiners = new WeakMap<Config, Record<SizeClass, RunCombiner>[]>();

/**
 * Submits a run through the intake object of its queue shard. The requests of an isolate share their calls to it.
 *
 * @param waitUntil keeps the calling request alive until the work has ended
 * @throws AppError `capacity` when the object was moved or is overloaded: it is unknown whether the run was committed
 */
export async function submitToIntake(
  env: Env,
  config: Config,
  run: NewRun,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<SubmitResult> {
  const shard = queueShardOf(run.tenant_id, config.QUEUE_SHARDS);
  try {
    const combiner = combinersOf(config)[shard]?.[sizeClassOf(run)];
    if (!combiner) throw new Error(`there is no queue shard ${shard}`);
    const call = (runs: NewRun[]) => env.INTAKE.getByName(`i${shard}`).submit(runs);
    return await combiner.send(run, call, waitUntil);
  } catch (cause) {
    const detail = "It is unknown whether the run was accepted; try again, best with an Idempotency-Key.";
    throw new AppError("capacity", detail, { retryAfterSeconds: 1, cause });
  }
}

/** The combiners of each queue shard, shared by the requests of this isolate. */
function combinersOf(config: Config): Record<SizeClass, RunCombiner>[] {
  const known = combiners.get(config);
  if (known) return known;
  const newCombiner = (): RunCombiner => new Combiner(sizeOf);
  const fresh = Array.from({ length: config.QUEUE_SHARDS }, () => ({
    small: newCombiner(),
    large: newCombiner(),
  }));
  combiners.set(config, fresh);
  return fresh;
}

/** About the bytes of a run's fields other than input and metadata. */
const RUN_BYTES = 1_000;

/** A run of at least this size is large: it shares batches with other large runs only. */
const LARGE_BYTES = 64 * 1024;

/** About the bytes that a run takes on its way to Postgres. */
export function sizeOf({ tenant_id, input, metadata }: NewRun): Sized {
  return { tenant: tenant_id, bytes: RUN_BYTES + input.length + metadata.length };
}

/** Small and large runs are in separate batches, because all small runs of a batch would wait for a commit of megabytes. */
export type SizeClass = "small" | "large";

export function sizeClassOf(run: NewRun): SizeClass {
  return sizeOf(run).bytes < LARGE_BYTES ? "small" : "large";
}
