import type { Context } from "hono";
import { z } from "zod";
import { MASK } from "../../shared/contracts/definition/tool-secrets.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { KeyProvider, ProviderKeyRequest, providerKeyPlace } from "../../shared/contracts/provider-key.ts";
import { AppError, invalidField } from "../../shared/errors.ts";
import { masterKeysOf } from "../../shared/security/master-keys.ts";
import { seal } from "../../shared/security/seal.ts";
import type { ProviderKeyRow, SealedProviderKey } from "../../shared/store/money/provider-keys.ts";
import type { Config } from "../env.ts";
import type { ApiEnv } from "../http/api.ts";
import { tenantOf } from "../http/middleware/principal.ts";
import { outboundUrl } from "../http/outbound-url.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

export const ProviderParams = z.object({ provider: KeyProvider });

/** The key of a tenant at a provider, as responses show it. */
export const ProviderKey = z
  .object({
    tenant_id: z.string(),
    provider: KeyProvider,
    api_key: z.literal(MASK),
    base_url: z.string().nullable(),
    created_at: z.iso.datetime(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "ProviderKey" });

export function providerKeyOf(tenant: TenantId, row: ProviderKeyRow): z.infer<typeof ProviderKey> {
  const { provider, base_url, created_at_ms, updated_at_ms } = row;
  const times = { created_at: isoTime(created_at_ms), updated_at: isoTime(updated_at_ms) };
  return { tenant_id: tenant, provider, api_key: MASK, base_url, ...times };
}

export function noProviderKey(tenant: TenantId, provider: KeyProvider): AppError {
  return new AppError("not_found", `The tenant ${tenant} has no key of its own at ${provider}.`);
}

/** The tenant whose keys the request reads or changes. It is recorded for the audit too. */
export function keyTenantOf(c: Context<ApiEnv>, named: TenantId | undefined): TenantId {
  const tenant = tenantOf(c.get("principal"), named, c.get("services").config.DEFAULT_TENANT_ID);
  c.set("audit", { target: c.req.param("provider") ?? null, tenant });
  return tenant;
}

/**
 * A key as it is stored: sealed, with a base URL that EGRESS_ALLOW permits. Whether a host name is allowed, the worker that connects
 * decides.
 * @throws AppError `invalid` for another address, a missing one, or without MASTER_KEY
 */
export async function sealedProviderKey(
  config: Config,
  tenant: TenantId,
  provider: KeyProvider,
  { api_key, base_url }: z.infer<typeof ProviderKeyRequest>,
): Promise<SealedProviderKey> {
  const url = base_url === null ? null : checkedBaseUrl(base_url, config);
  if (url === null && provider === "openai-compatible")
    throw invalidField("base_url", "is required: openai-compatible has no address of its own");
  const keys = masterKeysOf(config);
  if (!keys) throw invalidField("api_key", "cannot be stored: this installation has no MASTER_KEY");
  const sealed = await seal(keys, api_key, providerKeyPlace(tenant, provider));
  return { provider, api_key: sealed, base_url: url };
}

/** The URL is shown and logged, so it holds no secret. */
function checkedBaseUrl(text: string, config: Config): string {
  const url = new URL(text);
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw invalidField("base_url", "may have a host, a port and a path, and nothing else");
  return outboundUrl(text, "base_url", config);
}
