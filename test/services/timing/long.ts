/**
 * `shared/timing.ts` with long periods: what a test sees within seconds was caused by a notification, and not by the
 * next beat or the next pass, on however slow a machine. Every relation between the durations holds here too:
 * `test/shared/timing.test.ts`.
 */
import { SILENCE_MARGIN_MS } from "../../../shared/timing.ts";

export * from "../../../shared/timing.ts";

export const BEAT_PERIOD_MS = 60_000;
export const RENEW_PERIOD_MS = BEAT_PERIOD_MS + 1_000;
export const SILENT_AFTER_MS = 3 * BEAT_PERIOD_MS + 5_000;
export const LEASE_MS = SILENT_AFTER_MS + 1_000;
export const FRESH_CONFIRMATION_MS = SILENT_AFTER_MS - SILENCE_MARGIN_MS;
export const OFFLINE_AFTER_MS = 2 * SILENT_AFTER_MS;
export const STALL_OBSERVATION_MS = 3 * SILENT_AFTER_MS;
export const TAKEOVER_MS = LEASE_MS + BEAT_PERIOD_MS;
export const RECLAIM_MS = 4 * SILENT_AFTER_MS;
export const CLAIM_DEADLINE_MS = 5 * SILENT_AFTER_MS;

/** Longer than the tests wait for a request. */
export const WEBHOOK_PASS_MS = 300_000;
export const WEBHOOK_LEASE_MS = 2 * WEBHOOK_PASS_MS;
