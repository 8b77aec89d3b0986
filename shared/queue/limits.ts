import type { TenantId } from "../contracts/ids.ts";

/** What a tenant may use, as the queue enforces it. A lower `version` never replaces a higher one. */
export type Limits = {
  tenant: TenantId;
  version: number;
  /** 0: the tenant is disabled. */
  maxConcurrentRuns: number;
  maxQueuedRuns: number;
  requestsPerSecond: number;
  /** The tenant's part of the claims, relative to the weights of other tenants. */
  weight: number;
};

/** Limits as the script takes them. */
export function limitsArgs(limits: Limits): string[] {
  const { version, maxConcurrentRuns, maxQueuedRuns, requestsPerSecond, weight } = limits;
  const numbers = [version, maxConcurrentRuns, maxQueuedRuns, requestsPerSecond, weight];
  return [limits.tenant, ...numbers.map(String)];
}
