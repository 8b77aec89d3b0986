/**
 * Why an execution is stopped from outside. The reason of every abort signal that a step sees, so that who catches it
 * knows what is to be done: `lost` nothing (another moves the run), `cancel` end it, `drain` hand it back, the
 * timeouts fail it and say which limit it was.
 */
export class Stop extends Error {
  readonly why: "lost" | "cancel" | "drain" | "run_timeout" | "step_timeout";

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

/** A signal that also ends after `ms`, for reason `stop`. `clear` when the work is done: timers keep a process alive. */
export function withTimeout(
  signal: AbortSignal,
  ms: number,
  stop: Stop,
): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  // Timers of Node count in 32 bits; a longer wait would end at once.
  const timer = setTimeout(() => controller.abort(stop), Math.min(Math.max(0, ms), 2 ** 31 - 1));
  return { signal: AbortSignal.any([signal, controller.signal]), clear: () => clearTimeout(timer) };
}
