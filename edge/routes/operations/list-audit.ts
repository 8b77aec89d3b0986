import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { listAudit as list } from "../../../shared/store/audit.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, nextCursor, readCursor } from "../../http/paging.ts";
import { isoTime } from "../../../shared/text/iso-time.ts";

const AuditList = z
  .object({
    data: z.array(
      z.object({
        id: z.string(),
        at: z.iso.datetime(),
        key_id: z.string(),
        /** The name of the operation in this document. */
        action: z.string(),
        target: z.string().nullable(),
        /** Null: the platform, or all tenants. */
        tenant_id: z.string().nullable(),
        request_id: z.string(),
        /** Null: the request was not answered, so the change may or may not have been made. */
        status: z.number().int().nullable(),
      }),
    ),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "AuditList" });

const AuditId = z.string().regex(/^[0-9]{1,18}$/);

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/audit`,
    operationId: operationIdAt(prefix, "listAudit"),
    tags: ["Operations"],
    summary: "List the changes that administrators made",
    description:
      "The newest first: each request with the scope `admin` that changes something, also a refused one, with the HTTP status of its " +
      "response; and, by the key `system`, each webhook endpoint that its failures disabled (`disableFailingWebhookEndpoint`). " +
      "A tenant's key gets the changes that concern its tenant. Rows are kept for a year.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend({ tenant_id: TenantId.optional() }) },
    responses: { 200: json(AuditList, "The changes"), ...problems(400) },
  });

export const listAudit = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const rows = await list(c.get("services").sql, tenant, readCursor(AuditId, cursor), limit);
    const data = rows.map(({ at_ms, ...row }) => ({ ...row, at: isoTime(at_ms) }));
    return c.json({ data, next_cursor: nextCursor(rows, limit, (row) => row.id) }, 200);
  });
};
