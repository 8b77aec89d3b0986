import type { TenantId } from "../../shared/contracts/ids.ts";
import type { Principal, Tenant } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { log } from "../../shared/log.ts";
import { limitsOf } from "../../shared/store/tenants/tenant-limits.ts";
import type { Services } from "../services.ts";

/**
 * Makes this edge read a tenant's limits again, and pushes them to the queue. Call it after the commit: the queue must never have
 * limits that Postgres does not have. Never throws.
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

/** Refuses a tenant that this key may not see. @throws AppError `not_found` */
export function requireOwnTenant({ tenant }: Principal, named: TenantId): void {
  if (tenant !== null && tenant !== named) throw noTenant();
}
