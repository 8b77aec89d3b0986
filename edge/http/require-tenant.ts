import type { TenantId } from "../../shared/contracts/ids.ts";
import { ensureTenant, findDeletedTenants } from "../../shared/store/tenants/tenant-rows.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Services } from "../services.ts";
import { tenantIsDeleted } from "./tenant-is-deleted.ts";

/**
 * For a request that saves something before its run is submitted. A tenant that does not exist passes: its first run creates it.
 * @throws AppError `tenant_deleted`
 */
export async function refuseDeletedTenant(sql: Sql, tenant: TenantId): Promise<void> {
  if ((await findDeletedTenants(sql, [tenant])).length > 0) throw tenantIsDeleted();
}

/**
 * Creates the tenant with the defaults if it does not exist, before something is saved for it.
 * @throws AppError `tenant_deleted` for a deleted tenant: what is saved for it now would be deleted with it
 */
export async function requireTenant({ sql, config }: Services, tenant: TenantId): Promise<void> {
  if ((await ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS)).deleting) throw tenantIsDeleted();
}
