import {
  BEAT_PERIOD_MS,
  FRESH_CONFIRMATION_MS,
  LEASE_MS,
  RENEW_PERIOD_MS,
  SILENT_AFTER_MS,
  STRAY_AFTER_MS,
  STALL_OBSERVATION_MS,
} from "../../shared/timing.ts";

/**
 * The durations on which a worker's right to its runs depends, in milliseconds. Production uses `workerTiming` and has no
 * setting for them: every worker of a fleet must agree. A test of one part may pass others; the worker processes of a test
 * get all durations of `shared/timing.ts` replaced together (`test/services/timing/`).
 */
export type WorkerTiming = {
  beatMs: number;
  /** After this time without a beat, this worker's runs may be taken over. */
  silentAfterMs: number;
  leaseMs: number;
  renewMs: number;
  /** A worker whose last successful beat or renewal is older than this beats before its next claim or call to the outside. */
  freshConfirmationMs: number;
  /** A run that Postgres names as this worker's for so long without being executed here is handed back. */
  strayMs: number;
  /** After this time without the queue, runs are claimed directly from Postgres. */
  directAfterMs: number;
  /** For this time after an announcement the queue counts as reachable: by then the first claim after it has been answered. */
  announcedMs: number;
  /** A value that did not change for this time, observed without interruption, is stalled. */
  stallMs: number;
};

export const workerTiming: WorkerTiming = {
  beatMs: BEAT_PERIOD_MS,
  silentAfterMs: SILENT_AFTER_MS,
  leaseMs: LEASE_MS,
  renewMs: RENEW_PERIOD_MS,
  freshConfirmationMs: FRESH_CONFIRMATION_MS,
  strayMs: STRAY_AFTER_MS,
  directAfterMs: 5_000,
  announcedMs: 10_000,
  stallMs: STALL_OBSERVATION_MS,
};
