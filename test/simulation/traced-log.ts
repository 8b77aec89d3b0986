/** Replaces shared/log.ts: the log becomes part of the trace of a history. */
import { vi } from "vitest";
import { currentProcess } from "./clock.ts";
import type { Simulation } from "./simulation.ts";

let sim: Simulation | null = null;

/** Adds the log to the trace of this simulation. */
export function traceLogs(simulation: Simulation): void {
  sim = simulation;
}

function write(event: string, fields: object = {}): void {
  // A stack names the lines of the test too, and is not the same each time.
  const { stack: _, ...repeatable } = { stack: "", ...fields };
  if (sim?.onEvent) sim.trace(`${currentProcess().name} ${event} ${JSON.stringify(repeatable)}`);
}

export const log = { info: write, warn: write, error: write, flush: () => {} };

export const { aboutRun, messageOf } =
  await vi.importActual<typeof import("../../shared/log.ts")>("../../shared/log.ts");
