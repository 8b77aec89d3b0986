import { z } from "zod";
import { TenantId, plainText } from "./ids.ts";

/** What an API key allows. */
export const Scope = z.enum(["runs:write", "runs:read", "definitions:write", "admin"]);
export type Scope = z.infer<typeof Scope>;

/** An API key as clients send it. Only its SHA-256 is stored. */
export const ApiKey = z.string().regex(/^sk-syn-[0-9a-f]{64}$/);

/** The caller: a tenant's key, or a platform key (`tenant` is null), which may act for any tenant. */
export const Principal = z.object({
  key_id: z.string(),
  tenant: TenantId.nullable(),
  scopes: z.array(Scope),
});
export type Principal = z.infer<typeof Principal>;

/** The owner of a definition: a tenant, or the empty id for a definition that all tenants share. */
export const SHARED = "";
export type Owner = TenantId | typeof SHARED;

const limit = z.number().int().min(0).max(1_000_000_000);

/** A tenant and its limits. A limit of 0 disables the tenant. */
export const Tenant = z.object({
  tenant_id: TenantId,
  name: z.string(),
  max_concurrent_runs: limit,
  max_queued_runs: limit,
  requests_per_second: limit,
  weight: z.number().int().min(1).max(1000),
  /** The most bytes of one upload, and of one file that a tool writes. */
  max_artifact_bytes: z.coerce
    .number()
    .int()
    .min(0)
    .max(5 * 1024 ** 3),
  version: z.coerce.number().int(),
});
export type Tenant = z.infer<typeof Tenant>;

/** A change of a tenant. Absent fields keep their values; for a new tenant they get the defaults. */
export const TenantRequest = Tenant.omit({ version: true })
  .extend({ name: plainText(200) })
  .partial()
  .required({ tenant_id: true });
export type TenantRequest = z.infer<typeof TenantRequest>;
