import { z } from "zod";
import type { Parsed } from "../../shared/contracts/definition/index.ts";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner, Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { tenantFilterOf } from "../http/middleware/principal.ts";

/** The tenant whose definitions a request is about; a platform key may name any. */
export const OwnerQuery = z.object({ tenant_id: TenantId.optional() });

/** `runs` is part of the paths of runs, so no definition may have that id. */
export const NewDefinitionId = DefinitionId.refine((id) => id !== "runs", "is reserved");

/** The owner of what a request writes: the key's tenant or the named one. A platform key that names none writes shared definitions. */
export function ownerOf(principal: Principal, named: TenantId | undefined): Owner {
  return tenantFilterOf(principal, named) ?? SHARED;
}

/** @throws AppError `invalid` or `not_yet`, with the path of each field, unless `parsed` is a definition */
export function requireDefinition<Definition>(parsed: Parsed<Definition>): Definition {
  if (parsed.ok) return parsed.definition;
  const what = parsed.code === "not_yet" ? "Not available yet" : "Not valid";
  const named = parsed.errors.map((error) => error.path || "the body").slice(0, 5);
  throw new AppError(parsed.code, `${what}: ${named.join(", ")}.`, { fields: parsed.errors });
}

/** The body with the path's id in `field`. A body may repeat that id; another id is `invalid`. */
export function withId(body: Record<string, unknown>, id: string, field = "id"): Record<string, unknown> {
  if (body[field] !== undefined && body[field] !== id) {
    throw new AppError("invalid", `The ${field} in the body differs from the id in the path.`, {
      fields: [{ path: field, message: `must be ${id}, as in the path` }],
    });
  }
  return { ...body, [field]: id };
}
