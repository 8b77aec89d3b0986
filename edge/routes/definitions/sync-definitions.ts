import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { log } from "../../../shared/log.ts";
import { OwnerQuery, ownerOf, requireOwner } from "../../definitions/definition-request.ts";
import { MAX_ENTRIES, SyncRequest, requestErrors } from "../../definitions/sync/bundle.ts";
import { syncDefinitions } from "../../definitions/sync/sync-definitions.ts";
import { SyncResult, syncResult } from "../../definitions/sync/sync-result.ts";
import { LENIENT, prefers } from "../../http/prefer.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";

const DESCRIPTION = `Saves a bundle of definitions: an export of the predecessor system, or lists of this API's own definitions. Each one passes the same checks as its PUT, and is saved as a whole or not at all; \`errors\` and \`warnings\` lead to each field by its path in the bundle, and a definition that is refused stops no other. What is stored already gets no new version, so a repetition changes nothing. Nothing is deleted but what \`delete\` names (\`agents/agent_old\`). \`dry_run\` saves nothing and answers what would happen. At most ${MAX_ENTRIES} definitions and deletions, and 1 MiB, in one request. \`Prefer: handling=lenient\` ignores fields that nothing reads. Secrets that an export has redacted keep the stored value; \`repos\` and \`db_configs\` of agents, which name what is on the predecessor's machine, are left out with a warning.`;

const DryRun = z.enum(["true", "false"]).transform((text) => text === "true");

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/sync`,
    operationId: operationIdAt(prefix, "syncDefinitions"),
    tags: ["Definitions"],
    summary: "Import a bundle of definitions",
    description: DESCRIPTION,
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), jsonBody({ schema: SyncRequest }), audited("syncDefinitions")] as const,
    request: {
      // A client sends a file of the predecessor unchanged, so both fields may be in the query too.
      query: OwnerQuery.extend({ dry_run: DryRun.optional() }),
      body: { required: true, content: { "application/json": { schema: SyncRequest } } },
    },
    responses: {
      200: json(SyncResult, "What was saved, and what was not"),
      ...problems(400, 409, 413, 415),
    },
  });

export const syncBundle = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const request = c.req.valid("json");
    const query = c.req.valid("query");
    const fields = requestErrors(request);
    if (fields.length > 0) throw new AppError("invalid", "Not valid: the body.", { fields });
    const isLenient = prefers(c, LENIENT);
    const isDryRun = query.dry_run ?? request.dry_run ?? false;
    const services = c.get("services");
    const owner = ownerOf(c.get("principal"), query.tenant_id ?? request.tenant_id);
    if (!isDryRun) await requireOwner(services, owner);
    const outcomes = await syncDefinitions(services, { owner, isLenient }, request, isDryRun);
    if (isLenient) c.header("Preference-Applied", LENIENT);
    const result = syncResult(outcomes, isDryRun, new Date());
    const { total_synced, details } = result;
    log.info("definitions.synced", {
      owner,
      dry_run: isDryRun,
      total_synced,
      details: JSON.stringify(details),
    });
    return c.json(result, 200);
  });
};
