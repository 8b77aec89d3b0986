import type { Sql } from "../sql.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { Tenant } from "../../contracts/tenant.ts";
import type { TenantRequest } from "../../contracts/tenant.ts";
import type { Limits } from "../../queue/limits.ts";

/** More than any tenant reaches: what the queue is told when tenants are not held apart. */
const UNLIMITED = 1_000_000_000;

/** A tenant's limits as the queue knows them. `isolation` false (ENABLE_TENANT_ISOLATION=0) lifts the `max_*` checks. */
export function limitsOf(tenant: Tenant, isolation: boolean): Limits {
  const limits = {
    tenant: tenant.tenant_id,
    version: tenant.version,
    maxConcurrentRuns: tenant.max_concurrent_runs,
    maxQueuedRuns: tenant.max_queued_runs,
    requestsPerSecond: tenant.requests_per_second,
    weight: tenant.weight,
  };
  return isolation ? limits : withoutMaxima(limits);
}

/** Limits as they are where tenants are not isolated: only their rate and their weight hold. */
export function withoutMaxima(limits: Limits): Limits {
  return { ...limits, maxConcurrentRuns: UNLIMITED, maxQueuedRuns: UNLIMITED };
}

/** The tenant; made with the defaults when there is none. `requestsPerSecond`: the default of this installation. */
export async function ensureTenant(sql: Sql, tenant: TenantId, requestsPerSecond: number): Promise<Tenant> {
  const [row] = await sql`
    with made as (
      insert into tenants (tenant_id, requests_per_second) values (${tenant}, ${requestsPerSecond})
      on conflict (tenant_id) do nothing
      returning ${columns(sql)}
    )
    select * from made union all select ${columns(sql)} from tenants where tenant_id = ${tenant}`;
  // Neither: another made it while this statement looked, so that it is there for the next one.
  return row ? Tenant.parse(row) : await readTenant(sql, tenant);
}

async function readTenant(sql: Sql, tenant: TenantId): Promise<Tenant> {
  const [row] = await sql`select ${columns(sql)} from tenants where tenant_id = ${tenant}`;
  return Tenant.parse(row);
}

/**
 * Makes or changes a tenant; fields that are absent keep their value. Each change raises `version`, so that an older
 * copy never replaces it in the queue.
 */
export async function saveTenant(
  sql: Sql,
  request: TenantRequest,
  requestsPerSecond: number,
): Promise<Tenant> {
  const {
    tenant_id,
    name = null,
    max_concurrent_runs = null,
    max_queued_runs = null,
    weight = null,
  } = request;
  const rate = request.requests_per_second ?? null;
  const [row] = await sql`
    insert into tenants as t (tenant_id, name, max_concurrent_runs, max_queued_runs, requests_per_second, weight)
    values (${tenant_id}, coalesce(${name}, ''), coalesce(${max_concurrent_runs}::int, 100),
            coalesce(${max_queued_runs}::int, 1000), coalesce(${rate}::int, ${requestsPerSecond}::int),
            coalesce(${weight}::int, 1))
    on conflict (tenant_id) do update set
      name = coalesce(${name}, t.name),
      max_concurrent_runs = coalesce(${max_concurrent_runs}::int, t.max_concurrent_runs),
      max_queued_runs = coalesce(${max_queued_runs}::int, t.max_queued_runs),
      requests_per_second = coalesce(${rate}::int, t.requests_per_second),
      weight = coalesce(${weight}::int, t.weight),
      version = t.version + 1,
      updated_at = now()
    returning ${columns(sql)}`;
  return Tenant.parse(row);
}

/** A page of tenants by id, after `after`. */
export async function listTenants(sql: Sql, after: string, limit: number): Promise<Tenant[]> {
  const rows = await sql`
    select ${columns(sql)} from tenants where tenant_id > ${after} order by tenant_id limit ${limit}`;
  return rows.map((row) => Tenant.parse(row));
}

function columns(sql: Sql) {
  return sql`tenant_id, name, max_concurrent_runs, max_queued_runs, requests_per_second, weight, version`;
}
