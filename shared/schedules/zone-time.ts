/**
 * Local times of time zones. A local time is a number: the milliseconds since 1970 that a clock in UTC would show for the same
 * date and time. So `local - offset` is the instant.
 */

const HOUR_MS = 3_600_000;

/** A transition further away cannot concern an instant: local clocks were never set by more than a day (Samoa, 2011). */
const NEAR_MS = 26 * HOUR_MS;

/** The search looks at an offset this often: no zone changes its offset twice in this time. */
const STEP_MS = 4 * HOUR_MS;

/**
 * A change of a zone's offset, in milliseconds: until the instant `at` it was `before`, from then on it is `after`. A larger offset skips
 * local times (a gap), a smaller one repeats them.
 */
export type Transition = { at: number; before: number; after: number };

const formats = new Map<string, Intl.DateTimeFormat>();

/** @throws RangeError for an unknown zone */
function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone);
  if (known) return known;
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: zone,
    calendar: "gregory",
    numberingSystem: "latn",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  formats.set(zone, format);
  return format;
}

/** Whether this process knows a zone of this name (IANA). */
export function isZone(zone: string): boolean {
  try {
    return zone.length <= 64 && formatOf(zone) !== null;
  } catch {
    return false;
  }
}

/** By how many milliseconds the clocks of a zone are ahead of UTC at an instant. @throws RangeError for an unknown zone */
export function offsetAt(zone: string, instant: number): number {
  const second = Math.floor(instant / 1_000) * 1_000;
  const parts = new Map(
    formatOf(zone)
      .formatToParts(second)
      .map(({ type, value }) => [type, value]),
  );
  const number = (type: Intl.DateTimeFormatPartTypes): number => Number(parts.get(type));
  return (
    Date.UTC(
      number("year"),
      number("month") - 1,
      number("day"),
      number("hour"),
      number("minute"),
      number("second"),
    ) - second
  );
}

/** The local time at an instant. */
export function localAt(zone: string, instant: number): number {
  return instant + offsetAt(zone, instant);
}

/** The transition of a zone within 26 hours of an instant; null: there is none. */
export function transitionNear(zone: string, instant: number): Transition | null {
  let from = instant - NEAR_MS;
  let before = offsetAt(zone, from);
  while (from < instant + NEAR_MS) {
    const to = from + STEP_MS;
    const after = offsetAt(zone, to);
    if (after !== before) return { at: changeBetween(zone, from, to, before), before, after };
    from = to;
    before = after;
  }
  return null;
}

/** The first second in which the offset is no longer `before`. */
function changeBetween(zone: string, from: number, to: number, before: number): number {
  let [low, high] = [Math.floor(from / 1_000), Math.ceil(to / 1_000)];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (offsetAt(zone, middle * 1_000) === before) low = middle;
    else high = middle;
  }
  return high * 1_000;
}

/**
 * The instants at which clocks in a zone show a local time: one, or two in the hour that comes twice. A local time that is
 * skipped stands for the first moment after the gap.
 */
export function instantsOf(zone: string, local: number): { first: number; second: number | null } {
  const change = transitionNear(zone, local - offsetAt(zone, local));
  if (change === null) return { first: local - offsetAt(zone, local), second: null };
  const { at, before, after } = change;
  if (local - before < at)
    return { first: local - before, second: local - after >= at ? local - after : null };
  return { first: Math.max(at, local - after), second: null };
}
