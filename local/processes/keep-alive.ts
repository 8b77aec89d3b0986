/** Restarts programs and stores that end by themselves, as a process supervisor does in production. */
import { setTimeout as sleep } from "node:timers/promises";
import type { RunningChild } from "./child.ts";

/** The time between an end and the next start. */
const restartAfterMs = 1_000;

/** A part that is restarted when it ends. `current()`: the part of the last start, which may have just ended. */
export type KeptAlive<Part> = { current(): Part; stop(): Promise<void> };

/**
 * Starts a part, and starts it again 1 s after it ended by itself, until `stop`.
 *
 * @param start starts the part, on the port and the data of the part before. When it throws, nothing of the part is left. It
 *   throws soon after `signal` aborts.
 * @param onRestart called after each restart
 * @returns the part, once its first start is complete. `stop` also ends a start that is under way.
 * @throws the error of the first start. An error of a later start is written to stderr, and the start is tried again.
 */
export async function keepAlive<Part extends RunningChild>(
  name: string,
  start: (signal: AbortSignal) => Promise<Part>,
  onRestart: () => void,
): Promise<KeptAlive<Part>> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const stopped = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  let part = await start(signal);

  const restart = async (): Promise<void> => {
    console.error(`${name} has ended; it restarts in ${restartAfterMs / 1000} s`);
    try {
      await sleep(restartAfterMs, undefined, { signal });
      part = await start(signal);
    } catch (error) {
      if (!signal.aborted) console.error(error instanceof Error ? error.message : String(error));
      return;
    }
    onRestart();
  };
  const supervise = async (): Promise<void> => {
    while (!signal.aborted) {
      // After a failed start this is still the old part, which has ended.
      await Promise.race([part.ended, stopped]);
      if (!signal.aborted) await restart();
    }
    await part.stop();
  };
  const supervised = supervise();
  return {
    current: () => part,
    stop() {
      stopping.abort();
      return supervised;
    },
  };
}
