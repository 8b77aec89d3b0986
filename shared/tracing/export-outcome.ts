/**
 * What became of a batch. `busy`: the collector takes no batch now; the same one may be sent again, after the time that the collector
 * names. `refused`: the collector will never take this batch.
 */
export type ExportOutcome =
  | { is: "sent" }
  | { is: "busy"; retryAfterMs: number | null; why: string }
  | { is: "refused"; why: string };

const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** A collector that names a longer time is asked again after this one. */
const MAX_RETRY_AFTER_MS = 5 * 60_000;

/** The wait before a batch is sent again: as long as the collector names, or growing with `failures` in a row, plus or minus a quarter. */
export function waitBeforeRetryMs(
  retryAfterMs: number | null,
  failures: number,
  random: () => number,
): number {
  if (retryAfterMs !== null) return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS);
  const wait = Math.min(MAX_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** Math.min(failures - 1, 10));
  return Math.round(wait * (0.75 + random() / 2));
}
