import { masterKeysOf } from "../../shared/security/master-keys.ts";
import type { Context } from "hono";
import { z } from "zod";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { EndpointId } from "../../shared/contracts/webhook.ts";
import { endpointPlace } from "../../shared/contracts/webhook-endpoint.ts";
import { seal } from "../../shared/security/seal.ts";
import type { Config } from "../env.ts";
import type { ApiEnv } from "../http/api.ts";
import { tenantOf } from "../http/middleware/principal.ts";
import { invalidField } from "../../shared/errors.ts";

export const EndpointParams = z.object({ id: EndpointId });

/** The tenant whose endpoints the request reads or changes. It is recorded for the audit too. */
export function endpointTenantOf(c: Context<ApiEnv>, named: TenantId | undefined): TenantId {
  const tenant = tenantOf(c.get("principal"), named, c.get("services").config.DEFAULT_TENANT_ID);
  c.set("audit", { target: c.req.param("id") ?? null, tenant });
  return tenant;
}

/** Seals a secret for its endpoint alone. @throws AppError `invalid` without MASTER_KEY */
export async function sealForEndpoint(
  secret: string,
  tenant: TenantId,
  id: string,
  config: Config,
): Promise<string> {
  const keys = masterKeysOf(config);
  if (!keys) {
    throw invalidField(
      "secret",
      "cannot be stored: this installation has no MASTER_KEY, and every delivery to an endpoint is signed",
    );
  }
  return seal(keys, secret, endpointPlace(tenant, id));
}
