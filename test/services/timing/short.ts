/**
 * `shared/timing.ts` with short leases: a killed worker counts as silent after 6 s instead of 12, so that a test of a
 * takeover does not wait for the real times. Every relation between the durations holds here too:
 * `test/shared/timing.test.ts`.
 *
 * Not shorter still: a worker that a busy machine delays for some seconds must keep its runs.
 */
export * from "../../../shared/timing.ts";

export const BEAT_PERIOD_MS = 1_000;
export const SILENT_AFTER_MS = 2 * BEAT_PERIOD_MS + 4_000;
export const LEASE_MS = SILENT_AFTER_MS + 1_000;
export const FRESH_CONFIRMATION_MS = SILENT_AFTER_MS - 1_000;
export const RESTORED_LEASE_MS = 2 * BEAT_PERIOD_MS;
export const TAKEOVER_MS = LEASE_MS + BEAT_PERIOD_MS;

export const WEBHOOK_PASS_MS = 1_000;
export const WEBHOOK_REQUEST_MS = 4_000;
export const WEBHOOK_LEASE_MS = 2 * WEBHOOK_REQUEST_MS;
