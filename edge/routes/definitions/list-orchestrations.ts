import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listOrchestrations as list } from "../../../shared/store/definitions/orchestrations.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { Summary, definitionSummaryOf } from "../../definitions/definition-view.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations",
  operationId: "listOrchestrations",
  tags: ["Definitions"],
  summary: "List the orchestrations that a tenant may run",
  description: "The tenant's own and the shared ones, ordered by id. The header `Link` has the next page.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: OwnerQuery.extend(PageQuery.shape) },
  responses: { 200: json(z.array(Summary), "The orchestrations"), ...problems() },
});

export function listOrchestrations(api: Api): void {
  api.openapi(route, async (c) => {
    const { tenant_id, cursor, limit } = c.req.valid("query");
    const { sql, config } = c.get("services");
    const tenant = tenantOf(c.get("principal"), tenant_id, config.DEFAULT_TENANT_ID);
    const found = await list(sql, tenant, cursor, limit);
    const next = nextCursor(found, limit, (row) => row.id);
    linkNext(c, next);
    return c.json(found.map(definitionSummaryOf), 200);
  });
}
