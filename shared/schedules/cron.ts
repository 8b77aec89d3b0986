import { Cron, CronPattern } from "croner";
import { messageOf } from "../log.ts";
import { instantsOf, isZone, localAt, offsetAt, transitionNear } from "./zone-time.ts";
import type { Transition } from "./zone-time.ts";

/**
 * A cron expression of five fields in a time zone, and when it fires (docs/protocol.md 5.18).
 *
 * croner finds the local times that match, in a calendar without time zones; which instants they are is decided here. croner's
 * own rule drops the ticks of some expressions in a skipped hour.
 */
export type CronSchedule = {
  zone: string;
  /** It fires more than once in a day, and therefore at both passings of an hour that clocks repeat. */
  isFine: boolean;
  matches: Cron;
};

/** The longest expression. */
export const MAX_CRON_CHARS = 200;

/** An expression or a zone cannot be used. `message` continues a sentence whose subject is the field. */
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
  if (expression.length > MAX_CRON_CHARS)
    throw new CronError("cron", `must have at most ${MAX_CRON_CHARS} characters`);
  const fields = expression.split(/\s+/).filter((field) => field !== "");
  if (fields.length !== 5) throw new CronError("cron", notFiveFields(fields));
  const pattern = fields.map(withoutStepOfOne).join(" ");
  const matches = readPattern(pattern);
  const schedule = { zone, isFine: timesOfDay(pattern) > 1, matches };
  if (matches.nextRun(new Date(0)) === null) throw new CronError("cron", "names a date that never comes");
  return schedule;
}

/** The expressions for which other schedulers have a name. */
const NAMED: ReadonlyMap<string, string> = new Map([
  ["@yearly", "0 0 1 1 *"],
  ["@annually", "0 0 1 1 *"],
  ["@monthly", "0 0 1 * *"],
  ["@weekly", "0 0 * * 0"],
  ["@daily", "0 0 * * *"],
  ["@midnight", "0 0 * * *"],
  ["@hourly", "0 * * * *"],
]);

function notFiveFields(fields: readonly string[]): string {
  const sentence = "must have five fields (minute, hour, day of month, month, day of week)";
  const [name = ""] = fields;
  const meant = NAMED.get(name.toLowerCase());
  return meant === undefined
    ? `${sentence}, and has ${fields.length}`
    : `${sentence}: write ${meant} for ${name}`;
}

/** The field with a bare star for a star in steps of one: of a day field croner would let each day match, whatever the other one says. */
function withoutStepOfOne(field: string): string {
  return /^\*\/0*1$/.test(field) ? "*" : field;
}

function readPattern(expression: string): Cron {
  try {
    return new Cron(expression, { mode: "5-part", timezone: "UTC" });
  } catch (error) {
    throw new CronError("cron", `cannot be read: ${asWritten(messageOf(error))}`);
  }
}

/** croner's message with the value that its author wrote: croner counts days and months from 0. */
function asWritten(message: string): string {
  return message
    .replace(/^CronPattern: /, "")
    .replace(
      /^(Invalid value for (?:day|month|nearestWeekdays): )(-?\d+)$/,
      (_, text, value) => text + (Number(value) + 1),
    );
}

function timesOfDay(expression: string): number {
  const { minute, hour } = new CronPattern(expression, undefined, { mode: "5-part" });
  return minute.filter(Boolean).length * hour.filter(Boolean).length;
}

/** The first tick after an instant, both in milliseconds since 1970; null: there is none. */
export function nextTick(schedule: CronSchedule, after: number): number | null {
  const { zone } = schedule;
  const repeat = repeatNear(zone, after);
  const repeatEnd = repeat ? endOf(repeat) : 0;
  const isRepeating = repeat !== null && after >= repeat.at && after < repeatEnd;
  // While clocks repeat local times, all of these times have had their first passing.
  const local = isRepeating ? repeat.at + repeat.before - 1 : localAt(zone, after);
  const match = matchAfter(schedule, local);
  const first = match === null ? null : instantsOf(zone, match).first;
  if (!schedule.isFine || repeat === null || after >= repeatEnd) return first;
  const repeatedMatch = matchAfter(schedule, Math.max(after, repeat.at - 1) + repeat.after);
  if (repeatedMatch === null || repeatedMatch >= repeat.at + repeat.before) return first;
  return Math.min(first ?? Infinity, repeatedMatch - repeat.after);
}

/** The last tick before an instant, both in milliseconds since 1970; null: there is none. */
export function previousTick(schedule: CronSchedule, before: number): number | null {
  const { zone } = schedule;
  const near = repeatNear(zone, before);
  const repeat = near && near.at < before ? near : null;
  // The local time just before the instant: at the end of a gap that is the gap's beginning.
  const local = before + offsetAt(zone, before - 1);
  const match = matchBefore(schedule, repeat ? Math.max(local, firstPassingEnd(repeat, before)) : local);
  const latest = match === null ? null : latestBefore(schedule, match, before);
  if (!schedule.isFine || repeat === null) return latest;
  const repeatedMatch = matchBefore(schedule, Math.min(before, endOf(repeat)) + repeat.after);
  if (repeatedMatch === null || repeatedMatch < repeat.at + repeat.after) return latest;
  return Math.max(latest ?? -Infinity, repeatedMatch - repeat.after);
}

/** The change of the zone near an instant, if it sets clocks back, so that local times repeat; else null. */
function repeatNear(zone: string, instant: number): Transition | null {
  const change = transitionNear(zone, instant);
  return change && change.after < change.before ? change : null;
}

/** The instant from which local times repeat no more. */
function endOf({ at, before, after }: Transition): number {
  return at + before - after;
}

/** The local time up to which all repeated times have had their first passing before an instant; -Infinity once the repeat is over. */
function firstPassingEnd(repeat: Transition, instant: number): number {
  return instant <= endOf(repeat) ? repeat.at + repeat.before : -Infinity;
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
