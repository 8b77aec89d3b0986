import { z } from "zod";
import type { Parsed } from "../../shared/contracts/definition/index.ts";
import { DefinitionId, TenantId } from "../../shared/contracts/ids.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner, Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { DefinitionSummary } from "../../shared/store/definitions/stored-definition.ts";
import { tenantOf } from "../http/middleware/principal.ts";

/** What the routes of orchestrations, agents and tools have in common. */

/** Whose definitions a request is about; a platform key may name any tenant. */
export const OwnerQuery = z.object({ tenant_id: TenantId.optional() });

/** `runs` is part of the paths of runs, so it names no definition. */
export const NewDefinitionId = DefinitionId.refine((id) => id !== "runs", "is reserved");

export const Saved = z
  .object({ id: z.string(), version: z.number().int(), tenant_id: z.string().nullable() })
  .meta({ id: "SavedDefinition" });

export const Summary = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().optional(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "DefinitionSummary" });

/** Who owns what is written: the tenant of the key or the named one; a platform key that names none writes for all. */
export function ownerOf(principal: Principal, named: TenantId | undefined): Owner {
  if (principal.tenant === null) return named ?? SHARED;
  return tenantOf(principal, named, principal.tenant);
}

/** @throws AppError `invalid` or `not_yet`, with the path of each field, unless `parsed` is a definition */
export function definitionOf<Definition>(parsed: Parsed<Definition>): Definition {
  if (parsed.ok) return parsed.definition;
  const what = parsed.code === "not_yet" ? "Not available yet" : "Not valid";
  const named = parsed.errors.map((error) => error.path || "the body").slice(0, 5);
  throw new AppError(parsed.code, `${what}: ${named.join(", ")}.`, { fields: parsed.errors });
}

/** The id in the path is the definition's `field`; a body may repeat it and not contradict it. */
export function withId(body: Record<string, unknown>, id: string, field = "id"): Record<string, unknown> {
  if (body[field] !== undefined && body[field] !== id) {
    throw new AppError("invalid", `The ${field} in the body is another than the one in the path.`, {
      fields: [{ path: field, message: `must be ${id}, as in the path` }],
    });
  }
  return { ...body, [field]: id };
}

/** A definition as it was stored, with its version. */
export const Definition = z
  .looseObject({ id: z.string(), version: z.number().int() })
  .meta({ id: "Definition" });

export function noDefinition(kind: string, id: string): AppError {
  return new AppError("not_found", `There is no ${kind} ${id}.`);
}

export function summaryOf({ description, ...row }: DefinitionSummary): z.infer<typeof Summary> {
  const told = { id: row.id, name: row.name, updated_at: row.updated_at.toISOString() };
  return description === undefined ? told : { ...told, description };
}
