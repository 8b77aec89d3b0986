import { z } from "zod";
import type { Owner } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";

/** A definition as the store keeps it: `definition` is its JSON text. */
export const StoredDefinition = z.object({
  id: z.string(),
  owner: z.string(),
  version: z.number().int(),
  definition: z.string(),
});
export type StoredDefinition = z.infer<typeof StoredDefinition>;

/** A definition in a list. */
export const DefinitionSummary = z.object({
  id: z.string(),
  name: z.string(),
  description: z.string().optional(),
  updated_at: z.date(),
});
export type DefinitionSummary = z.infer<typeof DefinitionSummary>;

/** A definition to save: `definition` is its JSON text. */
export type NewDefinition = { id: string; name: string; definition: string };

/** A kind of definition of which only the newest version is stored, by the name of its table. The store treats them alike. */
export type Kind = "agents" | "tools" | "mcp_servers";

/** The ids of all definitions that an owner has ever saved, including deleted ones. */
export async function idsEverSaved(
  sql: Sql,
  kind: Kind | "orchestrations",
  owner: Owner,
): Promise<Set<string>> {
  const rows = await sql<{ id: string }[]>`select id from ${sql(kind)} where tenant_id = ${owner}`;
  return new Set(rows.map(({ id }) => id));
}
