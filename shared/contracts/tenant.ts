import { z } from "zod";
import { TenantId } from "./ids.ts";

/** What a key may do. */
export const Scope = z.enum(["runs:write", "runs:read", "definitions:write", "admin"]);
export type Scope = z.infer<typeof Scope>;

/** An API key as clients send it; only its SHA-256 is stored. */
export const ApiKey = z.string().regex(/^sk-syn-[0-9a-f]{64}$/);

/** Who asks: a key of one tenant, or (`tenant` null) a platform key, which may name any tenant. */
export const Principal = z.object({
  key_id: z.string(),
  tenant: TenantId.nullable(),
  scopes: z.array(Scope),
});
export type Principal = z.infer<typeof Principal>;

/** The owner of a definition: a tenant, or nobody in particular: then all tenants share it. */
export const SHARED = "";
export type Owner = TenantId | typeof SHARED;

const limit = z.number().int().min(0).max(1_000_000_000);

/** A tenant and what it may take at once. 0 disables. */
export const Tenant = z.object({
  tenant_id: TenantId,
  name: z.string(),
  max_concurrent_runs: limit,
  max_queued_runs: limit,
  requests_per_second: limit,
  weight: z.number().int().min(1).max(1000),
  version: z.coerce.number().int(),
});
export type Tenant = z.infer<typeof Tenant>;

/** What may be said of a tenant; what is not said stays as it is, or is the default for a new one. */
export const TenantRequest = Tenant.omit({ version: true })
  .extend({ name: z.string().max(200) })
  .partial()
  .required({ tenant_id: true });
export type TenantRequest = z.infer<typeof TenantRequest>;
