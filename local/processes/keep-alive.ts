/** What dies comes back: whoever pulls the plug of a program or a store sees it start again, as it would in a fleet. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Living } from "./child.ts";

/** Milliseconds between an end and the next start. */
const restartAfterMs = 1_000;

/** `now()` is the one of the last start, which may have ended a moment ago. */
export type KeptAlive<Part> = { now(): Part; stop(): Promise<void> };

/**
 * Starts a part, and starts it again 1 s after it ended by itself, for as long as it takes.
 *
 * @param start takes the place of the one before (port and data). It leaves nothing behind when it throws, and does
 * so soon after `signal`.
 * @param changed called when the part has come back.
 * @returns when the first start is done. `stop` also ends a start that is under way.
 * @throws the error of the first start; those of later ones are shown, and it is tried again.
 */
export async function keepAlive<Part extends Living>(
  name: string,
  start: (signal: AbortSignal) => Promise<Part>,
  changed: () => void,
): Promise<KeptAlive<Part>> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const stopped = new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  let part = await start(signal);

  const comeBack = async (): Promise<void> => {
    console.error(`${name} has ended; it starts again in ${restartAfterMs / 1000} s`);
    try {
      await sleep(restartAfterMs, undefined, { signal });
      part = await start(signal);
    } catch (error) {
      if (!signal.aborted) console.error(error instanceof Error ? error.message : String(error));
      return;
    }
    changed();
  };
  const live = async (): Promise<void> => {
    while (!signal.aborted) {
      // After a start that failed this is the old part still, which has ended.
      await Promise.race([part.ended, stopped]);
      if (!signal.aborted) await comeBack();
    }
    await part.stop();
  };
  const life = live();
  return {
    now: () => part,
    stop() {
      stopping.abort();
      return life;
    },
  };
}
