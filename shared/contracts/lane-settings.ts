import { z } from "zod";
import { WEBHOOK_REQUEST_MS } from "../timing.ts";
import { isRunLane } from "./run.ts";
import type { Lane } from "./run.ts";

/** How a lane works. A field that is null sets no bound. */
export type LaneSettings = {
  /** Lanes with ready runs take turns in proportion to their weights. */
  weight: number;
  /** The most runs, deliveries or mails of the lane that one worker has at once. Null: as its WORKER_CONCURRENCY says. */
  slots: number | null;
  /** The most starts in a second, of all workers together. */
  starts_per_second: number | null;
  /** Of a run: the crashes without a checkpoint between them after which it fails. Of a delivery: its tries. */
  attempts: number | null;
  /** The wait after the first crash or failed try. It doubles with each further one, up to an hour. */
  first_backoff_seconds: number;
  /** Of a run: the most time that it may take. Of a delivery: of one try. */
  timeout_seconds: number | null;
  /** For how long completed runs, deliveries or mails are kept, and how many of each tenant. A run is kept for at least an hour. */
  keep_completed_seconds: number | null;
  keep_completed_count: number | null;
  /** The same for those that failed or were cancelled. */
  keep_failed_seconds: number | null;
  keep_failed_count: number | null;
};
/** The name of a setting of a lane. */
export type LaneSetting = keyof LaneSettings;

const DAY_SECONDS = 86_400;

const ofRuns = {
  slots: null,
  starts_per_second: null,
  attempts: 3,
  first_backoff_seconds: 0,
  timeout_seconds: null,
  keep_completed_seconds: null,
  keep_completed_count: null,
  keep_failed_seconds: null,
  keep_failed_count: null,
} as const;

/** The settings of lanes that no operator has changed. */
export const LANE_DEFAULTS: Readonly<Record<Lane, LaneSettings>> = {
  interactive: { ...ofRuns, weight: 8 },
  default: { ...ofRuns, weight: 4 },
  bulk: { ...ofRuns, weight: 1 },
  mail: {
    weight: 2,
    slots: 5,
    starts_per_second: 10,
    attempts: 3,
    first_backoff_seconds: 60,
    timeout_seconds: 30,
    keep_completed_seconds: DAY_SECONDS,
    keep_completed_count: 1_000,
    keep_failed_seconds: 7 * DAY_SECONDS,
    keep_failed_count: null,
  },
  webhooks: {
    weight: 2,
    slots: 64,
    starts_per_second: null,
    attempts: null,
    first_backoff_seconds: 2,
    timeout_seconds: WEBHOOK_REQUEST_MS / 1_000,
    keep_completed_seconds: 30 * DAY_SECONDS,
    keep_completed_count: null,
    keep_failed_seconds: 30 * DAY_SECONDS,
    keep_failed_count: null,
  },
};

/**
 * The part of a worker's slots that a lane may hold while its `slots` are not set, so that slow bulk work never fills a worker.
 */
export const LANE_SHARES: Readonly<Record<Lane, number>> = {
  interactive: 1,
  default: 1,
  bulk: 0.5,
  mail: 0.5,
  webhooks: 0.5,
};

/** No wait between two tries is longer, except one that a receiver asked for. */
export const MAX_BACKOFF_MS = 3_600_000;

/** The wait after the `failures`-th failure (the first is 1) of a lane with this first backoff, in milliseconds. */
export function backoffOf(firstBackoffSeconds: number, failures: number): number {
  return Math.min(MAX_BACKOFF_MS, firstBackoffSeconds * 1_000 * 2 ** Math.min(failures - 1, 20));
}

/** A bucket holds the starts of a quarter of a second, and at least one: so much may start at once beyond the rate. */
export function burstOf(startsPerSecond: number): number {
  return Math.max(1, startsPerSecond / 4);
}

const whole = (min: number, max: number) => z.number().int().min(min).max(max).nullable().optional();
const seconds = (min: number, max: number) => z.number().min(min).max(max).nullable().optional();
const YEAR_SECONDS = 366 * DAY_SECONDS;

/**
 * A change of a lane. Absent fields keep their values; null returns a setting to its default. (The generator of the API's document takes
 * `exactOptional` for required.)
 */
export const LaneChange = z.object({
  weight: whole(1, 1_000),
  slots: whole(1, 1_000),
  starts_per_second: z.number().min(0.01).max(100_000).nullable().optional(),
  attempts: whole(1, 100),
  first_backoff_seconds: seconds(0, 3_600),
  timeout_seconds: seconds(0.1, YEAR_SECONDS),
  keep_completed_seconds: whole(0, 10 * YEAR_SECONDS),
  keep_completed_count: whole(0, 10_000),
  keep_failed_seconds: whole(0, 10 * YEAR_SECONDS),
  keep_failed_count: whole(0, 10_000),
});
export type LaneChange = z.infer<typeof LaneChange>;

const ALL: readonly LaneSetting[] = [
  "weight",
  "slots",
  "starts_per_second",
  "attempts",
  "first_backoff_seconds",
  "timeout_seconds",
  "keep_completed_seconds",
  "keep_completed_count",
  "keep_failed_seconds",
  "keep_failed_count",
];
const OF_DELIVERIES = ALL.filter((name) => name !== "weight");

/** The settings that a lane has: deliveries and mails take no turns with runs. */
export function settingsOf(lane: Lane): readonly LaneSetting[] {
  return isRunLane(lane) ? ALL : OF_DELIVERIES;
}

/** Retention keeps every run for this long after its end (docs/protocol.md 7.16). */
export const RUN_KEPT_SECONDS = 3_600;

/** The errors of a change of a lane's settings; empty: it may be made. */
export function laneChangeErrors(lane: Lane, change: LaneChange): { path: string; message: string }[] {
  const known: readonly string[] = settingsOf(lane);
  const unknown = Object.keys(change).filter((name) => !known.includes(name));
  const unknownErrors = unknown.map((path) => ({
    path,
    message: `the lane ${lane} has no such setting: it has ${known.join(", ")}`,
  }));
  return [...unknownErrors, ...boundErrors(lane, change)];
}

/** Bounds that only some lanes have. */
function boundErrors(lane: Lane, change: LaneChange): { path: string; message: string }[] {
  const most = LANE_DEFAULTS.webhooks.timeout_seconds ?? Infinity;
  if (lane === "webhooks" && (change.timeout_seconds ?? 0) > most) {
    const message = `must be at most ${most} for the lane webhooks: its deliveries are leased for twice as long`;
    return [{ path: "timeout_seconds", message }];
  }
  if (!isRunLane(lane)) return [];
  const message = `must be at least ${RUN_KEPT_SECONDS} for a lane of runs: each is kept for an hour after its end`;
  const ages = ["keep_completed_seconds", "keep_failed_seconds"] as const;
  return ages.flatMap((path) => ((change[path] ?? Infinity) < RUN_KEPT_SECONDS ? [{ path, message }] : []));
}

const setting = z.number().exactOptional();
/**
 * The settings that operators have changed, by lane. Another version may know other lanes, settings and bounds, so this schema does not
 * compare them with those of this version.
 */
export const ChangedLanes = z.record(
  z.string(),
  z.object({
    weight: setting,
    slots: setting,
    starts_per_second: setting,
    attempts: setting,
    first_backoff_seconds: setting,
    timeout_seconds: setting,
    keep_completed_seconds: setting,
    keep_completed_count: setting,
    keep_failed_seconds: setting,
    keep_failed_count: setting,
  } satisfies Record<LaneSetting, unknown>),
);
export type ChangedLanes = z.infer<typeof ChangedLanes>;

/** Reads the settings of a lane as they hold now. */
export type LaneSettingsOf = (lane: Lane) => LaneSettings;

/** The effective settings of a lane. */
export function laneSettings(lane: Lane, changed: ChangedLanes): LaneSettings {
  return { ...LANE_DEFAULTS[lane], ...changed[lane] };
}
