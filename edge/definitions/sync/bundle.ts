import { z } from "zod";
import type { DefinitionKind } from "../../../shared/contracts/definition/index.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { FieldError } from "../../../shared/errors.ts";

/**
 * The kinds of definitions in the order in which they are saved: a definition names mostly definitions of earlier kinds (orchestrations
 * and agents may also name each other).
 */
export const KINDS = [
  "tools",
  "mcp_servers",
  "agents",
  "orchestrations",
] as const satisfies readonly DefinitionKind[];

/** The most definitions and deletions of one request: each costs a few statements. */
export const MAX_ENTRIES = 100;

const Entries = z.array(z.unknown()).nullish();

/** The kind and the id of a definition to delete: `agents/agent_old`. */
const Deletion = z
  .string()
  .max(300)
  .regex(/^(?:tools|mcp_servers|agents|orchestrations)\/[^/]+$/, {
    error: `must be a kind and an id, such as agents/agent_old; the kinds are ${KINDS.join(", ")}`,
  });

/** A bundle as the predecessor exports it, or with the kinds of this API as lists; and what the sync is to do beside saving. */
export const SyncRequest = z
  .object({
    tools: Entries,
    custom_tools: Entries,
    mcp_servers: Entries,
    agents: Entries,
    orchestrations: Entries,
    delete: z.array(Deletion).max(MAX_ENTRIES).default([]),
    dry_run: z.boolean().optional(),
    tenant_id: TenantId.optional(),
    synapse_export: z.literal(true, { error: "must be true, as the predecessor exports it" }).optional(),
    version: z
      .string()
      .regex(
        /^1(?:\.\d+)*$/,
        "is another version of the predecessor's bundles than 1, which is the known one",
      )
      .optional(),
    exported_at: z.string().nullish(),
    has_python_tools: z.boolean().nullish(),
  })
  .meta({ id: "SyncRequest" });
export type SyncRequest = z.infer<typeof SyncRequest>;

/** A definition in a bundle. `path` leads to it: `agents[2]`. */
export type Entry = { kind: DefinitionKind; path: string; json: unknown };

/** Each list of a bundle and the kind of its definitions. The predecessor's word for tools is `custom_tools`. */
const LISTS = [
  ["tools", "tools"],
  ["custom_tools", "tools"],
  ["mcp_servers", "mcp_servers"],
  ["agents", "agents"],
  ["orchestrations", "orchestrations"],
] as const;

/** The definitions of a bundle, in the order in which they are saved. */
export function entriesOf(request: SyncRequest): Entry[] {
  return LISTS.flatMap(([list, kind]) =>
    (request[list] ?? []).map((json, i) => ({ kind, path: `${list}[${i}]`, json })),
  );
}

/** Why a request is refused as a whole: it has nothing to do, or too much. */
export function requestErrors(request: SyncRequest): FieldError[] {
  const count = entriesOf(request).length + request.delete.length;
  if (count === 0) {
    return [{ path: "", message: `has no definition: send one or more of ${KINDS.join(", ")} as lists` }];
  }
  if (count <= MAX_ENTRIES) return [];
  const message = `has ${count} definitions and deletions, and may have at most ${MAX_ENTRIES}: send several requests`;
  return [{ path: "", message }];
}
