/** Replaces shared/log.ts: the log becomes part of the trace of a history. */
import { currentProcess } from "./clock.ts";
import type { Simulation } from "./simulation.ts";

let sim: Simulation | null = null;

/** Adds the log to the trace of this simulation. */
export function traceLogs(of: Simulation): void {
  sim = of;
}

function write(event: string, fields: object = {}): void {
  // A stack names the lines of the test too, and is not the same each time.
  const { trace: _, ...same } = { trace: "", ...fields };
  if (sim?.onEvent) sim.trace(`${currentProcess().name} ${event} ${JSON.stringify(same)}`);
}

export const log = { info: write, warn: write, error: write, flush: () => {} };

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
