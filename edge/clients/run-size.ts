import type { NewRun } from "../../shared/contracts/run.ts";
import type { Sized } from "./fair-queue.ts";

/** A run without its texts. */
const RUN_BYTES = 1_000;

/** From this size on a run is large: large runs share their batches with each other only. */
const LARGE_BYTES = 64 * 1024;

/** The size of a run on its way to Postgres. */
export function sizeOf({ tenant_id, input, metadata }: NewRun): Sized {
  return { tenant: tenant_id, bytes: RUN_BYTES + input.length + metadata.length };
}

/** The batches of small and of large runs are apart: a commit of megabytes would make all small runs wait for it. */
export type SizeClass = "small" | "large";

export function sizeClassOf(run: NewRun): SizeClass {
  return sizeOf(run).bytes < LARGE_BYTES ? "small" : "large";
}
