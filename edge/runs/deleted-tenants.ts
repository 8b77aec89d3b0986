import type { TenantId } from "../../shared/contracts/ids.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { findDeletedTenants } from "../../shared/store/tenants/tenant-rows.ts";
import { tenantIsDeleted } from "../http/tenant-is-deleted.ts";

/**
 * The errors of those of these disabled tenants that were deleted, or that could not be read. The queue knows a deleted tenant as a
 * disabled one, and a client that waits for it to be enabled would wait for ever. One read for all of them.
 */
export async function errorsOfDeleted(
  { query }: { query<Result>(run: (sql: Sql) => Promise<Result>): Promise<Result> },
  disabled: ReadonlySet<TenantId>,
): Promise<ReadonlyMap<TenantId, unknown>> {
  if (disabled.size === 0) return new Map();
  try {
    const deleted = await query((sql) => findDeletedTenants(sql, [...disabled]));
    return new Map(deleted.map((tenant) => [tenant, tenantIsDeleted()]));
  } catch (error) {
    return new Map(Array.from(disabled, (tenant) => [tenant, error]));
  }
}
