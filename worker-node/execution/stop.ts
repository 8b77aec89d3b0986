/**
 * Why an execution is stopped from outside. The reason of every abort signal that a step sees, so that who catches it
 * knows what is to be done: `superseded` nothing (another moves the run), `cancel` end it, `drain` hand it back, the
 * timeouts fail it and say which limit it was.
 */
export class Stop extends Error {
  readonly why: "superseded" | "cancel" | "drain" | "run_timeout" | "step_timeout";

  constructor(why: Stop["why"], message: string) {
    super(message);
    this.name = "Stop";
    this.why = why;
  }
}

/** Waits for `work`, but not beyond `signal`: work that ignores its signal is left behind, and what it answers is dropped. */
export async function within<Result>(signal: AbortSignal, work: Promise<Result>): Promise<Result> {
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * A signal that also ends after `ms`, for the reason that `stop` makes; `restart` gives it all of its time again.
 * `clear` it when the work is done.
 */
export function withTimeout(
  signal: AbortSignal,
  ms: number,
  stop: () => Error,
): { signal: AbortSignal; restart(): void; clear(): void } {
  // By hand, not AbortSignal.any: this is made for every step, and costs a tenth of it.
  const controller = new AbortController();
  const follow = (): void => controller.abort(signal.reason);
  if (signal.aborted) follow();
  signal.addEventListener("abort", follow, { once: true });
  const end = (): void => controller.abort(stop());
  if (ms <= 0) end();
  // Timers of Node count in 32 bits; a longer wait would end at once.
  const timer = setTimeout(end, Math.min(Math.max(0, ms), 2 ** 31 - 1));
  const clear = (): void => {
    clearTimeout(timer);
    signal.removeEventListener("abort", follow);
  };
  return { signal: controller.signal, restart: () => timer.refresh(), clear };
}
