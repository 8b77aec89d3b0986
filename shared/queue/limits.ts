import { z } from "zod";
import { TenantId } from "../contracts/ids.ts";

/** More than any tenant reaches: a limit of this value is none. queue/common.lua has the same number. */
export const NO_LIMIT = 1_000_000_000;

/** What a tenant may use, as the queue enforces it. A lower `version` never replaces a higher one. */
export type Limits = {
  tenant: TenantId;
  version: number;
  /** 0: the tenant is disabled. */
  maxConcurrentRuns: number;
  maxQueuedRuns: number;
  requestsPerSecond: number;
  /** `NO_LIMIT` and more: the queue does not count them. */
  runsPerMinute: number;
  /** The tenant's part of the claims, relative to the weights of other tenants. */
  weight: number;
};

/** Limits that the queue has with a higher version than those that were pushed. */
export const NewerLimits = z.object({ tenant: TenantId, version: z.number() });
export type NewerLimits = z.infer<typeof NewerLimits>;

/** The replies of the script, one of each shard. */
export function readNewerLimits(replies: readonly unknown[]): NewerLimits[] {
  return replies.flatMap((reply) => {
    const texts = Texts.parse(reply);
    return texts.flatMap((tenant, i) =>
      i % 2 === 0 ? [NewerLimits.parse({ tenant, version: Number(texts[i + 1]) })] : [],
    );
  });
}

const Texts = z.array(z.string());

/** Limits as the script takes them. */
export function limitsArgs(limits: Limits): string[] {
  const { version, maxConcurrentRuns, maxQueuedRuns, requestsPerSecond, weight, runsPerMinute } = limits;
  const numbers = [version, maxConcurrentRuns, maxQueuedRuns, requestsPerSecond, weight, runsPerMinute];
  return [limits.tenant, ...numbers.map(String)];
}
