/** What stands in the place of shared/log.ts: the lines become a part of the history that is told. */
import { currentProcess } from "./clock.ts";
import type { Simulation } from "./world.ts";

let world: Simulation | null = null;

/** The history that lives now. */
export function traceLogs(of: Simulation): void {
  world = of;
}

function write(event: string, fields: object = {}): void {
  if (world?.onEvent) world.trace(`${currentProcess().name} ${event} ${JSON.stringify(fields)}`);
}

export const log = { info: write, warn: write, error: write, flush: () => {} };

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
