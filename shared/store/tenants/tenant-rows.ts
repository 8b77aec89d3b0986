import type { TenantId } from "../../contracts/ids.ts";
import { Tenant } from "../../contracts/tenant.ts";
import type { TenantRequest } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";

/**
 * Reads a tenant. A tenant that does not exist is created with the defaults.
 * @param requestsPerSecond the default rate of this deployment
 */
export async function ensureTenant(sql: Sql, tenant: TenantId, requestsPerSecond: number): Promise<Tenant> {
  const [row] = await sql`
    with created as (
      insert into tenants (tenant_id, requests_per_second) values (${tenant}, ${requestsPerSecond})
      on conflict (tenant_id) do nothing
      returning ${columns(sql)}
    )
    select * from created union all select ${columns(sql)} from tenants where tenant_id = ${tenant}`;
  // No row: another process created it after this statement's snapshot. The next statement sees it.
  return row ? Tenant.parse(row) : await readTenant(sql, tenant);
}

async function readTenant(sql: Sql, tenant: TenantId): Promise<Tenant> {
  const [row] = await sql`select ${columns(sql)} from tenants where tenant_id = ${tenant}`;
  return Tenant.parse(row);
}

/**
 * Creates or changes a tenant; fields that are absent keep their value. Each change increases `version`, so that the
 * queue never replaces newer limits with older ones.
 * @param requestsPerSecond the rate of a new tenant whose request names none
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
    max_artifact_bytes: artifact = null,
  } = request;
  const rate = request.requests_per_second ?? null;
  const [row] = await sql`
    insert into tenants as t (tenant_id, name, max_concurrent_runs, max_queued_runs, requests_per_second, weight,
      max_artifact_bytes)
    values (${tenant_id}, coalesce(${name}, ''), coalesce(${max_concurrent_runs}::int, 100),
            coalesce(${max_queued_runs}::int, 1000), coalesce(${rate}::int, ${requestsPerSecond}::int),
            coalesce(${weight}::int, 1), coalesce(${artifact}::bigint, 209715200))
    on conflict (tenant_id) do update set
      name = coalesce(${name}, t.name),
      max_concurrent_runs = coalesce(${max_concurrent_runs}::int, t.max_concurrent_runs),
      max_queued_runs = coalesce(${max_queued_runs}::int, t.max_queued_runs),
      requests_per_second = coalesce(${rate}::int, t.requests_per_second),
      weight = coalesce(${weight}::int, t.weight),
      max_artifact_bytes = coalesce(${artifact}::bigint, t.max_artifact_bytes),
      version = t.version + 1,
      updated_at = now()
    returning ${columns(sql)}`;
  return Tenant.parse(row);
}

/** A page of tenants, ordered by id, with ids after `after`. */
export async function listTenants(sql: Sql, after: string, limit: number): Promise<Tenant[]> {
  const rows = await sql`
    select ${columns(sql)} from tenants where tenant_id > ${after} order by tenant_id limit ${limit}`;
  return rows.map((row) => Tenant.parse(row));
}

function columns(sql: Sql) {
  return sql`tenant_id, name, max_concurrent_runs, max_queued_runs, requests_per_second, weight, version,
    max_artifact_bytes::float8 as max_artifact_bytes`;
}
