let lastMs = -Infinity;
let setBackMs = 0;

/**
 * The clock of an edge's isolate for durations, in milliseconds: it never goes back (docs/protocol.md 1, rule 5). workerd has no such clock, because
 * `performance.now()` is the time of day there (https://developers.cloudflare.com/workers/runtime-apis/performance/). By the time of day a
 * cached key, a limit or a wait would last an hour longer when the clock of the host is set back by an hour.
 */
export function elapsedMs(): number {
  const nowMs = Date.now();
  setBackMs += Math.max(0, lastMs - nowMs);
  lastMs = nowMs;
  return nowMs + setBackMs;
}
