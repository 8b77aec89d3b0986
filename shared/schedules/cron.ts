import { Cron, CronPattern } from "croner";
import { messageOf } from "../log.ts";
import { instantsOf, isZone, localAt, offsetAt, transitionNear } from "./zone-time.ts";

/**
 * A cron expression of five fields in a time zone, and when it fires (docs/protocol.md 5.18).
 *
 * croner finds the local times that match, in a calendar without time zones; which instants they are is decided here. croner's
 * own rule drops the ticks of some expressions in a skipped hour.
 */
export type CronSchedule = {
  zone: string;
  /** It fires more than once in a day: then it fires at each passing of the hour that comes twice. */
  isFine: boolean;
  matches: Cron;
};

/** The longest expression. */
export const MAX_CRON_CHARS = 200;

/** What is wrong with an expression or a zone. */
export class CronError extends Error {
  readonly field: "cron" | "timezone";

  constructor(field: "cron" | "timezone", message: string) {
    super(message);
    this.field = field;
  }
}

/** @throws CronError for an expression or a zone that cannot be used, or an expression that never fires */
export function parseCron(expression: string, zone: string): CronSchedule {
  if (!isZone(zone)) {
    throw new CronError("timezone", "is no IANA time zone that is known here, such as Europe/Berlin");
  }
  const fields = expression.trim().split(/\s+/);
  if (fields.length !== 5 || expression.length > MAX_CRON_CHARS) {
    const sentence = `must have five fields (minute, hour, day of month, month, day of week), and has ${fields.length}`;
    throw new CronError(
      "cron",
      fields.length === 5 ? `must have at most ${MAX_CRON_CHARS} characters` : sentence,
    );
  }
  const matches = readPattern(expression);
  const schedule = { zone, isFine: timesOfDay(expression) > 1, matches };
  if (matches.nextRun(new Date(0)) === null) throw new CronError("cron", "names a date that never comes");
  return schedule;
}

function readPattern(expression: string): Cron {
  try {
    return new Cron(expression, { mode: "5-part", timezone: "UTC" });
  } catch (error) {
    throw new CronError("cron", `cannot be read: ${messageOf(error).replace(/^CronPattern: /, "")}`);
  }
}

function timesOfDay(expression: string): number {
  const { minute, hour } = new CronPattern(expression, undefined, { mode: "5-part" });
  return minute.filter(Boolean).length * hour.filter(Boolean).length;
}

/** The first tick after an instant, both in milliseconds since 1970; null: there is none. */
export function nextTick(schedule: CronSchedule, after: number): number | null {
  const { zone } = schedule;
  const change = transitionNear(zone, after);
  const fold = change && change.after < change.before ? change : null;
  const foldEnd = fold ? fold.at + fold.before - fold.after : 0;
  const isRepeating = fold !== null && after >= fold.at && after < foldEnd;
  // While an hour comes for the second time, all of it has had its first passing.
  const local = isRepeating ? fold.at + fold.before - 1 : localAt(zone, after);
  const match = matchAfter(schedule, local);
  const first = match === null ? null : instantsOf(zone, match).first;
  if (!schedule.isFine || fold === null || after >= foldEnd) return first;
  const repeated = matchAfter(schedule, Math.max(after, fold.at - 1) + fold.after);
  if (repeated === null || repeated >= fold.at + fold.before) return first;
  return Math.min(first ?? Infinity, repeated - fold.after);
}

/** The last tick before an instant; null: there is none. */
export function previousTick(schedule: CronSchedule, before: number): number | null {
  const { zone } = schedule;
  const change = transitionNear(zone, before);
  const fold = change && change.after < change.before && change.at < before ? change : null;
  // The local time just before the instant: at the end of a gap that is the gap's beginning.
  const local = before + offsetAt(zone, before - 1);
  const match = matchBefore(schedule, fold ? Math.max(local, foldLocal(fold, before)) : local);
  const latest = match === null ? null : latestBefore(schedule, match, before);
  if (!schedule.isFine || fold === null) return latest;
  const foldEnd = fold.at + fold.before - fold.after;
  const repeated = matchBefore(schedule, Math.min(before, foldEnd) + fold.after);
  if (repeated === null || repeated < fold.at + fold.after) return latest;
  return Math.max(latest ?? -Infinity, repeated - fold.after);
}

/** All local times before this one have had their first passing before the instant. */
function foldLocal(fold: { at: number; before: number; after: number }, before: number): number {
  return before <= fold.at + fold.before - fold.after ? fold.at + fold.before : -Infinity;
}

function latestBefore({ zone, isFine }: CronSchedule, match: number, before: number): number {
  const { first, second } = instantsOf(zone, match);
  return isFine && second !== null && second < before ? second : first;
}

/** The first local time after another that matches. Expressions match whole minutes. */
function matchAfter({ matches }: CronSchedule, local: number): number | null {
  return matches.nextRun(new Date(Math.floor(local / 1_000) * 1_000))?.getTime() ?? null;
}

/** The last local time before another that matches. */
function matchBefore({ matches }: CronSchedule, local: number): number | null {
  return matches.previousRuns(1, new Date(Math.ceil(local / 1_000) * 1_000))[0]?.getTime() ?? null;
}
