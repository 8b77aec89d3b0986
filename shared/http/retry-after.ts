/**
 * The wait that a response asks for, in milliseconds: `retry-after-ms`, else `Retry-After` in seconds or as a date
 * (RFC 9110, 10.2.3), or as a time in seconds since 1970, as some servers write it. A time is read by the server's clock, and one in the
 * past is 0. Undefined when neither header can be read.
 * @param headers with names in lower case
 * @param nowMs milliseconds since 1970
 */
export function parseRetryAfterMs(
  headers: Readonly<Record<string, string>>,
  nowMs: number,
): number | undefined {
  const milliseconds = Number(headers["retry-after-ms"] || Number.NaN);
  if (milliseconds >= 0) return milliseconds;
  const header = headers["retry-after"];
  if (header === undefined) return undefined;
  const seconds = Number(header);
  const serverMs = serverTimeMs(headers, nowMs);
  // As a wait it would be more than 31 years.
  if (seconds >= 1e9) return Math.max(0, seconds * 1_000 - serverMs);
  if (seconds >= 0) return seconds * 1_000;
  // `Date.parse` finds a date in almost any text with a number.
  const date = /\d{4}-\d{2}-\d{2}|\d{2}:\d{2}:\d{2}/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(date) ? undefined : Math.max(0, date - serverMs);
}

/** `Date` has whole seconds, and a response takes its time: clocks that differ by less are the same. */
const SAME_CLOCK_MS = 2_000;

/** The time of a response by its server's clock, which may be another one than ours; where it has no `Date`, our own time. */
export function serverTimeMs(headers: Readonly<Record<string, string>>, nowMs: number): number {
  const ms = Date.parse(headers["date"] ?? "");
  return Math.abs(ms - nowMs) >= SAME_CLOCK_MS ? ms : nowMs;
}
