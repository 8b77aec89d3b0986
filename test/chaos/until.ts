/** Waiting for what happens elsewhere. */
import { setTimeout as sleep } from "node:timers/promises";

const LOOK_MS = 100;

/** Looks again and again until it is so, for `ms` at most. */
export async function until(isSo: () => boolean, ms: number): Promise<void> {
  const endMs = performance.now() + ms;
  while (!isSo() && performance.now() < endMs) await sleep(LOOK_MS);
}
