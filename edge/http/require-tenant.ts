import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { ensureTenant, findDeletedTenants } from "../../shared/store/tenants/tenant-rows.ts";
import type { Sql } from "../../shared/store/sql.ts";
import type { Services } from "../services.ts";

/** The answer while a tenant is being deleted, and after it until an administrator creates it anew. */
export function tenantIsDeleted(): AppError {
  return new AppError(
    "tenant_deleted",
    "This tenant was deleted. POST /scale/tenants creates it anew, as soon as nothing is left of it and GET answers 404.",
  );
}

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
