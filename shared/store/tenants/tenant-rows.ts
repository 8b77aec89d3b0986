import type { TenantId } from "../../contracts/ids.ts";
import { DEFAULT_FILE_BYTES, NO_BYTES_LIMIT, Tenant } from "../../contracts/tenant.ts";
import { NO_RETENTION } from "../../contracts/retention.ts";
import type { TenantChange, TenantRequest } from "../../contracts/tenant.ts";
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
 * queue never replaces newer limits with older ones. A tenant that was deleted is created anew.
 * @param requestsPerSecond the rate of a new tenant whose request names none
 * @returns null while the tenant is being deleted
 */
export async function saveTenant(
  sql: Sql,
  { tenant_id, ...change }: TenantRequest,
  requestsPerSecond: number,
): Promise<Tenant | null> {
  const {
    name = null,
    max_concurrent_runs = null,
    max_queued_runs = null,
    weight = null,
    max_artifact_bytes: artifact = null,
  } = change;
  const concurrent = sql`coalesce(${max_concurrent_runs}::int, 100)`;
  const queued = sql`coalesce(${max_queued_runs}::int, 1000)`;
  const rate = change.requests_per_second ?? null;
  const disabled = change.disabled === true;
  const [row] = await sql`
    insert into tenants as t (tenant_id, name, requests_per_second, weight, max_artifact_bytes, max_total_artifact_bytes, runs_per_minute,
      max_open_streams, max_concurrent_runs, max_queued_runs, disabled_at, enabled_concurrent_runs,
      enabled_queued_runs, retention)
    values (${tenant_id}, coalesce(${name}, ''), coalesce(${rate}::int, ${requestsPerSecond}::int),
      coalesce(${weight}::int, 1), coalesce(${artifact}::bigint, ${DEFAULT_FILE_BYTES}::bigint),
      coalesce(${change.max_total_artifact_bytes ?? null}::bigint, ${NO_BYTES_LIMIT}::bigint),
      coalesce(${change.runs_per_minute ?? null}::int, 1000000000),
      coalesce(${change.max_open_streams ?? null}::int, 1000),
      ${disabled ? sql`0, 0, now(), ${concurrent}, ${queued}` : sql`${concurrent}, ${queued}, null, null, null`},
      jsonb_strip_nulls(${JSON.stringify(change.retention ?? {})}::text::jsonb))
    on conflict (tenant_id) do update set ${changes(sql, change)}, deleted_at = null, purged_at = null,
      requests_per_second = coalesce(${rate}::int,
        case when t.purged_at is null then t.requests_per_second else ${requestsPerSecond}::int end)
      where t.deleted_at is null or t.purged_at is not null
    returning ${columns(sql)}`;
  return row ? Tenant.parse(row) : null;
}

/** Changes a tenant. @returns null when there is no such tenant, or it is being deleted */
export async function changeTenant(sql: Sql, tenant: TenantId, change: TenantChange): Promise<Tenant | null> {
  const [row] = await sql`
    update tenants t set ${changes(sql, change)},
      requests_per_second = coalesce(${change.requests_per_second ?? null}::int, t.requests_per_second)
    where tenant_id = ${tenant} and deleted_at is null
    returning ${columns(sql)}`;
  return row ? Tenant.parse(row) : null;
}

/**
 * The assignments of a change, except that of the rate. While a tenant is disabled, its `max_*` limits are 0, and the two columns
 * `enabled_*` keep those that hold again when it is enabled.
 */
function changes(sql: Sql, change: TenantChange) {
  const {
    name = null,
    max_concurrent_runs = null,
    max_queued_runs = null,
    weight = null,
    max_artifact_bytes: artifact = null,
    max_total_artifact_bytes: artifacts = null,
    runs_per_minute = null,
    max_open_streams = null,
    disabled = null,
  } = change;
  const retention = JSON.stringify(change.retention ?? {});
  const isDisabled = sql`coalesce(${disabled}::boolean, t.disabled_at is not null and t.purged_at is null)`;
  const concurrent = sql`coalesce(${max_concurrent_runs}::int, t.enabled_concurrent_runs, t.max_concurrent_runs)`;
  const queued = sql`coalesce(${max_queued_runs}::int, t.enabled_queued_runs, t.max_queued_runs)`;
  return sql`
      name = coalesce(${name}, t.name), weight = coalesce(${weight}::int, t.weight),
      max_artifact_bytes = coalesce(${artifact}::bigint, t.max_artifact_bytes),
      max_total_artifact_bytes = coalesce(${artifacts}::bigint, t.max_total_artifact_bytes),
      runs_per_minute = coalesce(${runs_per_minute}::int, t.runs_per_minute),
      max_open_streams = coalesce(${max_open_streams}::int, t.max_open_streams),
      retention = jsonb_strip_nulls(t.retention || ${retention}::text::jsonb), retained_at = null,
      disabled_at = case when ${isDisabled} then coalesce(t.disabled_at, now()) end,
      max_concurrent_runs = case when ${isDisabled} then 0 else ${concurrent} end,
      max_queued_runs = case when ${isDisabled} then 0 else ${queued} end,
      enabled_concurrent_runs = case when ${isDisabled} then ${concurrent} end,
      enabled_queued_runs = case when ${isDisabled} then ${queued} end,
      version = t.version + 1, updated_at = now()`;
}

/**
 * Requests the deletion of a tenant: it is disabled and all its keys are revoked at once. What belongs to it is deleted later, by
 * `deleteOfTenants`. A repeated request changes nothing.
 * @returns null when there is no such tenant, or nothing is left of it
 */
export async function requestTenantDeletion(sql: Sql, tenant: TenantId): Promise<Tenant | null> {
  const [row] = await sql`
    with revoked as (
      update api_keys set revoked_at = now() where tenant_id = ${tenant} and revoked_at is null
    )
    update tenants t set ${changes(sql, { disabled: true })}, deleted_at = coalesce(t.deleted_at, now())
    where tenant_id = ${tenant} and purged_at is null
    returning ${columns(sql)}`;
  return row ? Tenant.parse(row) : null;
}

/** One tenant; null when there is none, or nothing is left of it. */
export async function findTenant(sql: Sql, tenant: TenantId): Promise<Tenant | null> {
  const [row] = await sql`
    select ${columns(sql)} from tenants where tenant_id = ${tenant} and purged_at is null`;
  return row ? Tenant.parse(row) : null;
}

/** A page of tenants, ordered by id, with ids after `after`. */
export async function listTenants(sql: Sql, after: string, limit: number): Promise<Tenant[]> {
  const rows = await sql`
    select ${columns(sql)} from tenants where tenant_id > ${after} and purged_at is null
    order by tenant_id limit ${limit}`;
  return rows.map((row) => Tenant.parse(row));
}

function columns(sql: Sql) {
  return sql`tenant_id, name, coalesce(enabled_concurrent_runs, max_concurrent_runs) as max_concurrent_runs,
    coalesce(enabled_queued_runs, max_queued_runs) as max_queued_runs, requests_per_second, weight,
    max_artifact_bytes::float8 as max_artifact_bytes, max_total_artifact_bytes::float8 as max_total_artifact_bytes,
    stored_file_bytes(tenant_id)::float8 as artifact_bytes, runs_per_minute, max_open_streams,
    ${NO_RETENTION}::text::jsonb || retention as retention, disabled_at is not null as disabled, deleted_at is not null as deleting, version`;
}
