import type { TenantId } from "../../shared/contracts/ids.ts";
import { requestsState } from "../../shared/contracts/quota.ts";
import type { QuotaState } from "../../shared/contracts/quota.ts";
import { AppError } from "../../shared/errors.ts";
import { elapsedMs } from "../../shared/tasks/elapsed-ms.ts";

/** The most tenants whose buckets an isolate keeps. A dropped bucket begins full again: its tenant gains one second's requests at most. */
const MAX_BUCKETS = 10_000;

/** `left`: what the tenant had left at `atMs`, in thousandths of a request. */
type Bucket = { left: number; atMs: number };

/**
 * Limits the requests of each tenant in this isolate: in t seconds the isolate serves at most (t + 1) × the limit. Each tenant has a
 * token bucket of one second's requests, which begins full. Counting needs no call to a store; the price is that each isolate counts
 * for itself. Starts of runs are counted once more, by `admit`, for all edges together.
 */
export class RequestRates {
  readonly #buckets = new Map<TenantId, Bucket>();

  /** Counts one request of a tenant that may make `perSecond` a second. @returns what is left @throws AppError `rate_limited` */
  take(tenant: TenantId, perSecond: number, nowMs = elapsedMs()): QuotaState {
    const most = perSecond * 1_000;
    const { left: before, atMs } = this.#buckets.get(tenant) ?? { left: most, atMs: nowMs };
    const left = Math.min(most, before + Math.max(0, nowMs - atMs) * perSecond);
    if (left < 1_000) throw tooMany(tenant, perSecond, left);
    this.#keep(tenant, { left: left - 1_000, atMs: nowMs });
    return requestsState(perSecond, Math.floor((left - 1_000) / 1_000));
  }

  #keep(tenant: TenantId, bucket: Bucket): void {
    this.#buckets.delete(tenant);
    const oldest = this.#buckets.keys().next();
    if (this.#buckets.size >= MAX_BUCKETS && !oldest.done) this.#buckets.delete(oldest.value);
    this.#buckets.set(tenant, bucket);
  }
}

function tooMany(tenant: TenantId, perSecond: number, left: number): AppError {
  const retryMs = perSecond > 0 ? (1_000 - left) / perSecond : 60_000;
  const state = requestsState(perSecond, 0, retryMs);
  const detail = `Tenant ${tenant} sends more than ${perSecond} requests a second, which is its limit.`;
  return new AppError("rate_limited", detail, {
    quota: [state],
    ...(state.resetSeconds !== null && { retryAfterSeconds: state.resetSeconds }),
  });
}
