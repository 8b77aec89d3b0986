import type { TenantId } from "../../shared/contracts/ids.ts";
import type { Principal, Tenant } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { log } from "../../shared/log.ts";
import { limitsOf } from "../../shared/store/tenants/tenant-limits.ts";
import type { Services } from "../services.ts";

/**
 * Makes this edge read a tenant's limits again, and pushes them to the queue: after the commit, so that the queue never has
 * limits that Postgres does not have.
 */
export async function pushLimits(
  { queue, config, expireLiveValues }: Services,
  tenant: Tenant,
): Promise<void> {
  expireLiveValues();
  try {
    await queue.pushLimits([limitsOf(tenant, config.ENABLE_TENANT_ISOLATION)]);
  } catch {
    // The limits are saved; the reconciler pushes them when the queue is reachable again.
    log.info("tenant.limits_not_pushed", { tenant: tenant.tenant_id });
  }
}

export function noTenant(): AppError {
  return new AppError("not_found", "There is no such tenant.");
}

/** @throws AppError `not_found` for a tenant that this key may not see */
export function requireOwnTenant({ tenant }: Principal, named: TenantId): void {
  if (tenant !== null && tenant !== named) throw noTenant();
}
