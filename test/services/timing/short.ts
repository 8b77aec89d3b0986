/**
 * `shared/timing.ts` with short periods of the webhooks' senders, so that their tests do not wait for the product's.
 * Beats and leases are the product's own: a takeover takes as long as in production. Every relation between the durations
 * holds here too: `test/shared/timing.test.ts`.
 */
export * from "../../../shared/timing.ts";

export const WEBHOOK_PASS_MS = 1_000;
export const WEBHOOK_REQUEST_MS = 4_000;
export const WEBHOOK_LEASE_MS = 2 * WEBHOOK_REQUEST_MS;
