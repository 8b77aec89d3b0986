import { z } from "zod";
import { KINDS } from "./bundle.ts";
import type { SyncOutcome } from "./plan.ts";
import type { Deletion } from "./sync-definitions.ts";

const count = z.number().int();
const OfKind = z.object({
  synced: count,
  errors: count,
  created: count,
  updated: count,
  unchanged: count,
  deleted: count,
});
const Finding = z.object({
  id: z.string().nullable(),
  kind: z.enum(KINDS),
  path: z.string(),
  message: z.string(),
});

/**
 * The result of a sync, or of a dry run. `synced`: definitions that are now stored as in the bundle. `errors` of a kind: definitions
 * that were refused. `settings`: always 0, because the predecessor's settings are not imported; its clients read this field.
 */
export const SyncResult = z
  .object({
    dry_run: z.boolean(),
    total_synced: count,
    errors: z.array(Finding.extend({ code: z.string() })),
    warnings: z.array(Finding),
    details: z.object({
      orchestrations: OfKind,
      agents: OfKind,
      tools: OfKind,
      mcp_servers: OfKind,
      settings: z.object({ synced: count, errors: count }),
    }),
    synced_at: z.iso.datetime(),
  })
  .meta({ id: "SyncResult" });

export function syncResult(
  outcomes: readonly (SyncOutcome | Deletion)[],
  isDryRun: boolean,
  at: Date,
): z.infer<typeof SyncResult> {
  const of = (kind: (typeof KINDS)[number]) => {
    const number = (...is: (SyncOutcome | Deletion)["is"][]) =>
      outcomes.filter((one) => one.kind === kind && is.includes(one.is)).length;
    return {
      synced: number("created", "updated", "unchanged"),
      errors: number("refused"),
      created: number("created"),
      updated: number("updated"),
      unchanged: number("unchanged"),
      deleted: number("deleted"),
    };
  };
  const details = {
    orchestrations: of("orchestrations"),
    agents: of("agents"),
    tools: of("tools"),
    mcp_servers: of("mcp_servers"),
    settings: { synced: 0, errors: 0 },
  };
  return {
    dry_run: isDryRun,
    total_synced: KINDS.reduce((sum, kind) => sum + details[kind].synced, 0),
    errors: outcomes.flatMap((one) =>
      one.is === "refused" ? one.errors.map((error) => ({ ...finding(one, error), code: one.code })) : [],
    ),
    warnings: outcomes.flatMap(warningsOf),
    details,
    synced_at: at.toISOString(),
  };
}

function warningsOf(one: SyncOutcome | Deletion): z.infer<typeof Finding>[] {
  switch (one.is) {
    case "created":
    case "updated":
    case "unchanged":
      return one.warnings.map((warning) => finding(one, warning));
    case "absent":
      return [finding(one, { path: "", message: "does not exist, or was deleted before" })];
    case "refused":
    case "deleted":
      return [];
  }
}

function finding(
  { id, kind, path }: Pick<SyncOutcome | Deletion, "id" | "kind" | "path">,
  error: { path: string; message: string },
): z.infer<typeof Finding> {
  return { id, kind, path: error.path === "" ? path : `${path}.${error.path}`, message: error.message };
}
