/** Waits for a condition that other processes change. */
import { setTimeout as sleep } from "node:timers/promises";

const LOOK_MS = 100;

/** Waits until the condition holds, and at most `ms`. It returns in both cases, and the caller checks the condition. */
export async function waitAtMost(ms: number, holds: () => boolean): Promise<void> {
  const endMs = performance.now() + ms;
  while (!holds() && performance.now() < endMs) await sleep(LOOK_MS);
}
