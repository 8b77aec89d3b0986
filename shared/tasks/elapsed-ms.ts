/** The time of day that was read may be behind another read by this much although no clock was set back. */
const BEHIND_MS = 1_000;

let lastMs = -Infinity;
let setBackMs = 0;

/**
 * The clock of an edge's isolate for durations, in milliseconds: it never goes back (docs/protocol.md 1, rule 5). workerd has no such clock, because
 * `performance.now()` is the time of day there (https://developers.cloudflare.com/workers/runtime-apis/performance/). By the time of day a
 * cached key, a limit or a wait would last an hour longer when the clock of the host is set back by an hour.
 *
 * After a step back of less than a second it stands still. The requests and objects of an isolate have a time of day each: a runtime
 * may hold that of a request at the time of its next timer. Counted as set back, each change between two of them would make this clock faster.
 */
export function elapsedMs(): number {
  const nowMs = Date.now() + setBackMs;
  if (nowMs > lastMs) lastMs = nowMs;
  else if (lastMs - nowMs >= BEHIND_MS) setBackMs += lastMs - nowMs;
  return lastMs;
}
