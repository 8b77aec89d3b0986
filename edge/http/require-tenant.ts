import type { TenantId } from "../../shared/contracts/ids.ts";
import { AppError } from "../../shared/errors.ts";
import { ensureTenant } from "../../shared/store/tenants/tenant-rows.ts";
import type { Services } from "../services.ts";

/** The error for a tenant that is being deleted or was deleted, until an administrator creates it anew. */
export function tenantIsDeleted(): AppError {
  return new AppError(
    "tenant_deleted",
    "This tenant was deleted. POST /scale/tenants creates it anew, as soon as nothing is left of it and GET answers 404.",
  );
}

/**
 * Creates the tenant with the defaults if it does not exist, before something is saved for it.
 * @throws AppError `tenant_deleted` for a deleted tenant: what is saved for it now would be deleted with it
 */
export async function requireTenant({ sql, config }: Services, tenant: TenantId): Promise<void> {
  if ((await ensureTenant(sql, tenant, config.RATE_LIMIT_PER_TENANT_RPS)).deleting) throw tenantIsDeleted();
}
