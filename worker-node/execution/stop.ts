import { setTimeout as sleep } from "node:timers/promises";

/**
 * Why an execution is stopped from outside. It is the reason of every abort signal that a step sees, so that the code
 * that catches it can act on it:
 * - `superseded`: write nothing, another worker moves the run
 * - `cancel`: end the run as cancelled
 * - `drain`: leave the run to be handed back
 * - `run_timeout`, `step_timeout`, `state_too_large`: fail the run with this code
 */
export class Stop extends Error {
  readonly why: "superseded" | "cancel" | "drain" | "run_timeout" | "step_timeout" | "state_too_large";

  constructor(why: Stop["why"], message: string) {
    super(message);
    this.name = "Stop";
    this.why = why;
  }

  /** True when another worker goes on with the run. */
  get leavesRun(): boolean {
    return this.why === "superseded" || this.why === "drain";
  }
}

/** Waits for `work`, but not beyond `signal`. Work that ignores its signal is left behind and its result dropped. */
export async function abortable<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  // The work has begun: its rejection is dropped as well, because an unhandled one would end the process.
  if (signal.aborted) work.catch(() => {});
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    const stopListening = (): void => signal.removeEventListener("abort", onAbort);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(stopListening);
  });
}

/** Node counts timers in 32 bits: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Does `work`, but waits for it neither beyond `signal` nor longer than `ms`; then it rejects with the reason of `signal`, or with what
 * `stop` makes. The work may ask for a signal of this limit. A step without effects hardly ever does: `withTimeout` and
 * `abortable` would be most of what such a step costs.
 */
export function limited<Result>(
  { signal, ms, stop }: { signal: AbortSignal; ms: number; stop: () => Error },
  work: (limit: () => AbortSignal) => Promise<Result>,
): Promise<Result> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    let own: AbortController | null = null;
    let ended: { reason: unknown } | null = null;
    const limit = (): AbortSignal => {
      own ??= new AbortController();
      if (ended) own.abort(ended.reason);
      return own.signal;
    };
    const end = (reason: unknown): void => {
      clear();
      ended = { reason };
      own?.abort(reason);
      reject(reason);
    };
    const follow = (): void => end(signal.reason);
    const timer = setTimeout(() => end(stop()), Math.min(ms, MAX_TIMER_MS));
    const clear = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", follow);
    };
    signal.addEventListener("abort", follow, { once: true });
    work(limit).then(
      (result) => {
        clear();
        resolve(result);
      },
      (error: unknown) => {
        clear();
        reject(error);
      },
    );
  });
}

/** Waits `ms`. @throws the reason of `signal` as soon as it aborts; the sleep of Node throws an error of its own then */
export async function abortableSleep(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => signal.throwIfAborted());
}

/**
 * A signal that follows `signal` and also aborts after `ms` (Infinity: never), with the reason that `stop` makes, or by
 * `abort`. `restart` gives it all of its time again; `clear` it when the work is done.
 */
export function withTimeout(
  signal: AbortSignal,
  ms: number,
  stop: () => Error,
): { signal: AbortSignal; abort(reason: unknown): void; restart(): void; clear(): void } {
  // AbortSignal.any would take a tenth of the time of a step, and every step needs one of these.
  const controller = new AbortController();
  const follow = (): void => controller.abort(signal.reason);
  if (signal.aborted) follow();
  signal.addEventListener("abort", follow, { once: true });
  const end = (): void => controller.abort(stop());
  if (ms <= 0) end();
  const timer = ms === Infinity ? undefined : setTimeout(end, Math.min(Math.max(0, ms), MAX_TIMER_MS));
  const clear = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", follow);
  };
  const abort = (reason: unknown): void => controller.abort(reason);
  return { signal: controller.signal, abort, restart: () => void timer?.refresh(), clear };
}
