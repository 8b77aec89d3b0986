/** What stands in the place of shared/log.ts: the lines become a part of the history that is told. */
import { here } from "./clock.ts";
import type { World } from "./world.ts";

let world: World | null = null;

/** The history that lives now. */
export function hearLogs(of: World): void {
  world = of;
}

function write(event: string, fields: object = {}): void {
  if (world?.tell) world.trace(`${here().name} ${event} ${JSON.stringify(fields)}`);
}

export const log = { info: write, warn: write, error: write, flush: () => {} };

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
