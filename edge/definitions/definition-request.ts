import { z } from "zod";
import type { Context } from "hono";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner, Principal } from "../../shared/contracts/tenant.ts";
import type { ApiEnv } from "../http/api.ts";
import { LENIENT, prefers } from "../http/prefer.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";
import { requireTenant } from "../http/require-tenant.ts";
import type { Services } from "../services.ts";
import { definitionToSave } from "./definition-to-save.ts";
import type { DefinitionToSave } from "./definition-to-save.ts";
import type { DefinitionKind } from "../../shared/contracts/definition/index.ts";

/** For the documentation of routes that save definitions. */
export const UNKNOWN_FIELDS =
  "A field that nothing reads is refused, and the error names the known field that is spelled most like it. `Prefer: handling=lenient` ignores such fields, which the response confirms with `Preference-Applied`.";

/** The query of a request for definitions. `tenant_id`: their owner; a platform key may name any tenant. */
export const OwnerQuery = z.object({ tenant_id: TenantId.optional() });

/** `runs` is part of the paths of runs, so no definition may have that id. */
export const NewDefinitionId = DefinitionId.refine((id) => id !== "runs", "is reserved");

/** The owner of the definitions that a request changes: the named tenant, else the key's; for a platform key, else all tenants share them. */
export function ownerOf(principal: Principal, named: TenantId | undefined): Owner {
  return tenantFilterOf(principal, named) ?? SHARED;
}

/**
 * Makes sure that an owner exists before a definition is saved for it: what a tenant owns is deleted with it.
 * @throws AppError `tenant_deleted`
 */
export async function requireOwner(services: Services, owner: Owner): Promise<void> {
  if (owner !== SHARED) await requireTenant(services, owner);
}

/**
 * The definition in a request. Fields that nothing reads are refused; for a caller that prefers `handling=lenient` (RFC 7240) they
 * are ignored, and the response says so.
 * @throws AppError `invalid` or `not_yet`, with the path of each field
 */
export async function requireDefinition(
  c: Context<ApiEnv>,
  kind: DefinitionKind,
  { id, owner, body }: { id: string; owner: Owner; body: Record<string, unknown> },
): Promise<DefinitionToSave> {
  const isLenient = prefers(c, LENIENT);
  const found = await definitionToSave(c.get("services"), kind, { id, owner, body, isLenient });
  if (isLenient) c.header("Preference-Applied", LENIENT);
  return found;
}
