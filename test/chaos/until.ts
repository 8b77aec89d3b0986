/** Waits for a condition that other processes change. */
import { setTimeout as sleep } from "node:timers/promises";

const LOOK_MS = 100;

/** Checks the condition again and again until it holds, for `ms` at most. */
export async function until(holds: () => boolean, ms: number): Promise<void> {
  const endMs = performance.now() + ms;
  while (!holds() && performance.now() < endMs) await sleep(LOOK_MS);
}
