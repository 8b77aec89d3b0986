/**
 * Waits for `ms` milliseconds, or until `signal` aborts. Never rejects. Its timer always fires: in an object a cleared one would keep memory
 * (`findings/workerd-cleared-timer-stays.sh`).
 */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return;
  await new Promise<void>((resolve) => {
    setTimeout(end, ms);
    function end() {
      signal?.removeEventListener("abort", end);
      resolve();
    }
    signal?.addEventListener("abort", end);
  });
}
