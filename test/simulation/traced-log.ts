/** Replaces shared/log.ts: the log becomes part of the trace of a history. */
import { currentProcess } from "./clock.ts";
import type { Simulation } from "./simulation.ts";

let sim: Simulation | null = null;

/** Adds the log to the trace of this simulation. */
export function traceLogs(of: Simulation): void {
  sim = of;
}

function write(event: string, fields: object = {}): void {
  if (sim?.onEvent) sim.trace(`${currentProcess().name} ${event} ${JSON.stringify(fields)}`);
}

export const log = { info: write, warn: write, error: write, flush: () => {} };

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
