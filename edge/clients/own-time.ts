/** Of each interval of this length, at most as much counts. */
const TICK_MS = 50;

/**
 * Calls `act` after `ms` of time in which this process could have noticed an answer. What it stands still between two
 * ticks, because other work keeps it busy, is not the time of the peer that it waits for.
 * @returns a function that prevents the call
 */
export function afterOwnTime(ms: number, act: () => void): () => void {
  let leftMs = ms;
  const timer = setInterval(() => {
    leftMs -= TICK_MS;
    if (leftMs > 0) return;
    clearInterval(timer);
    act();
  }, TICK_MS);
  return () => clearInterval(timer);
}
