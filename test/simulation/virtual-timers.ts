/** Replaces `node:timers/promises` by the same promises on the virtual clock. */
import { currentProcess } from "./clock.ts";

/** The error with which Node rejects: an AbortError. Its `cause` is the signal's reason. */
function abortError(signal: AbortSignal): Error {
  return Object.assign(new Error("The operation was aborted", { cause: signal.reason }), {
    name: "AbortError",
    code: "ABORT_ERR",
  });
}

export function setTimeout<Value>(
  ms: number,
  value?: Value,
  { signal }: { signal?: AbortSignal; ref?: boolean } = {},
): Promise<Value | undefined> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortError(signal));
    const onAbort = (): void => {
      timer.fire = null;
      if (signal) reject(abortError(signal));
    };
    const timer = currentProcess().after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve(value);
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

export function setImmediate(): Promise<void> {
  return new Promise((resolve) => void currentProcess().after(0, resolve));
}
