import { z } from "zod";
import { TenantId, plainText } from "./ids.ts";
import { Retention, RetentionChange } from "./retention.ts";

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

/** The owner of definitions that all tenants share. */
export const SHARED = "";
/** The owner of a definition: a tenant, or `SHARED`. */
export type Owner = TenantId | typeof SHARED;

const limit = z.number().int().min(0).max(1_000_000_000);

/** The `max_artifact_bytes` of a tenant that has set none: 200 MiB. */
export const DEFAULT_FILE_BYTES = 200 * 1024 ** 2;

/** 1 PiB: as `max_total_artifact_bytes`, no limit. */
export const NO_BYTES_LIMIT = 1024 ** 5;

/** A tenant and its limits. With a limit of 0 none of its runs starts. */
export const Tenant = z.object({
  tenant_id: TenantId,
  name: z.string(),
  max_concurrent_runs: limit,
  max_queued_runs: limit,
  requests_per_second: limit,
  /** The most runs that start in any 60 s; 1,000,000,000: no limit. */
  runs_per_minute: limit,
  weight: z.number().int().min(1).max(1000),
  /** The most bytes of one upload, and of one file that a tool writes. */
  max_artifact_bytes: z
    .number()
    .int()
    .min(0)
    .max(5 * 1024 ** 3),
  /** The most bytes of all its uploads, and of the files of its runs, together; 1 PiB (1,125,899,906,842,624): no limit. */
  max_total_artifact_bytes: z.number().int().min(0).max(NO_BYTES_LIMIT),
  /** How many bytes its uploads and files have now. */
  artifact_bytes: z.number().int(),
  /** The most streams that are open at once; a stream of n runs counts n times. */
  max_open_streams: z.number().int().min(0).max(1_000),
  /** It starts no runs. Its `max_*` limits here are those that hold again when it is enabled. */
  disabled: z.boolean(),
  /** Its deletion was requested: it is disabled, its keys are revoked, and what belongs to it is being deleted. */
  deleting: z.boolean(),
  retention: Retention,
  version: z.coerce.number().int(),
});
export type Tenant = z.infer<typeof Tenant>;

/** A change of a tenant. Absent fields keep their values. */
export const TenantChange = Tenant.omit({
  version: true,
  tenant_id: true,
  deleting: true,
  artifact_bytes: true,
})
  .extend({ name: plainText(200), retention: RetentionChange })
  .partial();
export type TenantChange = z.infer<typeof TenantChange>;

/** A tenant that is created or changed. For a new tenant absent fields get the defaults. */
export const TenantRequest = TenantChange.extend({ tenant_id: TenantId });
export type TenantRequest = z.infer<typeof TenantRequest>;
