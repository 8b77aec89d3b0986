import { z } from "zod";
import { TenantId } from "../../contracts/ids.ts";
import type { Tenant } from "../../contracts/tenant.ts";
import { NO_LIMIT } from "../../queue/limits.ts";
import type { Limits, NewerLimits } from "../../queue/limits.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * A tenant's limits as the queue takes them. The `max_*` limits of a disabled tenant are 0.
 * @param isolation false (ENABLE_TENANT_ISOLATION=0): other tenants have no `max_*` limits
 */
export function limitsOf(tenant: Tenant, isolation: boolean): Limits {
  const { disabled } = tenant;
  const limits = {
    tenant: tenant.tenant_id,
    version: tenant.version,
    disabled,
    maxConcurrentRuns: disabled ? 0 : tenant.max_concurrent_runs,
    maxQueuedRuns: disabled ? 0 : tenant.max_queued_runs,
    requestsPerSecond: tenant.requests_per_second,
    weight: tenant.weight,
    runsPerMinute: tenant.runs_per_minute,
  };
  return isolation ? limits : withoutMaxima(limits);
}

/** The limits of a tenant that is not isolated: only its rates and its weight hold, unless it is disabled. */
export function withoutMaxima<Of extends Limits & { disabled: boolean }>(limits: Of): Of {
  if (limits.disabled) return limits;
  return { ...limits, maxConcurrentRuns: NO_LIMIT, maxQueuedRuns: NO_LIMIT };
}

/** A tenant's limits as the queue takes them, and the time of their last change as text. */
export const ChangedLimits = z.object({
  tenant: TenantId,
  version: z.number(),
  maxConcurrentRuns: z.number(),
  maxQueuedRuns: z.number(),
  requestsPerSecond: z.number(),
  weight: z.number(),
  /** An edge of an earlier version does not send it. */
  runsPerMinute: z.number().default(NO_LIMIT),
  updated_at: z.string(),
  /** An edge of a version that disables no tenants does not send it. */
  disabled: z.boolean().default(false),
});
export type ChangedLimits = z.infer<typeof ChangedLimits>;

/** The runs that the tenant has started in the last minute, as Postgres counts them while the queue does not. */
export async function countMinuteStarts(sql: Sql, tenant: TenantId): Promise<number> {
  const [row] = await sql<{ n: number }[]>`select minute_starts(${tenant})::float8 as n`;
  return row?.n ?? 0;
}

/** A position among changed limits: a Postgres time as text (`-infinity` is one) and a tenant id. */
export const LimitsPosition = z.object({ at: z.string(), tenant: z.string() });
export type LimitsPosition = z.infer<typeof LimitsPosition>;

/** A page of the tenants whose limits changed after a position, the oldest change first (docs/protocol.md 7.5). */
export async function listChangedLimits(
  sql: Sql,
  after: LimitsPosition,
  limit: number,
): Promise<ChangedLimits[]> {
  return sql<ChangedLimits[]>`
    select tenant_id as tenant, version::float8 as version, max_concurrent_runs as "maxConcurrentRuns",
      max_queued_runs as "maxQueuedRuns", requests_per_second as "requestsPerSecond", weight,
      runs_per_minute as "runsPerMinute",
      updated_at::text as updated_at, disabled_at is not null as disabled
    from tenants t where (updated_at, tenant_id) > (${after.at}::text::timestamptz, ${after.tenant})
    order by t.updated_at, t.tenant_id limit ${limit}`;
}

/**
 * Raises the versions of tenants above those that the queue has, and marks them as changed, so that the next push replaces the queue's
 * limits. A tenant whose version is that high already stays: its limits were changed, and pushed by another process, meanwhile.
 *
 * A version is committed before it is pushed. So when this statement finds a lower one than the queue had before, the queue has
 * limits that this database has never had or has lost: it was restored, or a standby took over without the last commits.
 * @returns how many were raised
 */
export async function raiseLimitVersions(sql: Sql, newer: readonly NewerLimits[]): Promise<number> {
  const rows = await sql`
    update tenants t set version = n.version + 1, updated_at = now()
    from (select * from unnest(${pgArray(newer.map(({ tenant }) => tenant))}::text[],
                               ${pgArray(newer.map(({ version }) => version))}::bigint[]) as u (tenant_id, version)) n
    where t.tenant_id = n.tenant_id and t.version < n.version
    returning 1`;
  return rows.length;
}
