import { z } from "zod";
import { AppError } from "../../shared/errors.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import type {
  DefinitionSummary,
  StoredDefinition,
} from "../../shared/store/definitions/stored-definition.ts";

/**
 * The response to a save. `tenant_id` null: all tenants share the definition. `warnings`: what its author should look at; a run may
 * fail because of it.
 */
export const SavedDefinition = z
  .object({
    id: z.string(),
    version: z.number().int(),
    tenant_id: z.string().nullable(),
    warnings: z.array(z.object({ path: z.string(), message: z.string() })),
  })
  .meta({ id: "SavedDefinition" });

/** A definition in a list. */
export const Summary = z
  .object({
    id: z.string(),
    name: z.string(),
    description: z.string().optional(),
    updated_at: z.iso.datetime(),
  })
  .meta({ id: "DefinitionSummary" });

/** A definition as it was stored, with its version. */
export const Definition = z
  .looseObject({ id: z.string(), version: z.number().int() })
  .meta({ id: "Definition" });

export function definitionSummaryOf(row: DefinitionSummary): z.infer<typeof Summary> {
  const { id, name, description, updated_at } = row;
  return {
    id,
    name,
    updated_at: updated_at.toISOString(),
    ...(description !== undefined && { description }),
  };
}

export function noDefinition(kind: string, id: string): AppError {
  return new AppError("not_found", `There is no ${kind} ${id}.`);
}

/**
 * Why nothing of an owner was deleted: there is no such definition, or it is a shared one, which the owner may read.
 * @param read the definition that a tenant sees under the id
 */
export async function nothingToDelete(
  kind: string,
  id: string,
  owner: Owner,
  read: (tenant: TenantId) => Promise<StoredDefinition | null>,
): Promise<AppError> {
  if (owner === SHARED || (await read(owner)) === null) return noDefinition(kind, id);
  return new AppError(
    "not_found",
    `The ${kind} ${id} is the platform's, which shares it with all tenants: the tenant ${owner} has none of its own to delete.`,
  );
}
