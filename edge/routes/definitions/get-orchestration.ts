import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { readOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { Definition, noDefinition } from "../../definitions/definition-view.ts";
import { PARTLY_SHOWN, visibleFields } from "../../definitions/visible-fields.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";

/** The largest value of the column. A larger one would be an error of Postgres that names no field. */
const MAX_VERSION = 2_147_483_647;

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/{id}",
  operationId: "getOrchestration",
  tags: ["Definitions"],
  summary: "Read an orchestration",
  description: PARTLY_SHOWN,
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: {
    params: z.object({ id: z.string() }),
    query: OwnerQuery.extend({ version: z.coerce.number().int().positive().max(MAX_VERSION).optional() }),
  },
  responses: { 200: json(Definition, "The definition, with its version"), ...problems(404) },
});

export function getOrchestration(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const { tenant_id, version } = c.req.valid("query");
    const { sql, config } = c.get("services");
    const principal = c.get("principal");
    const tenant = tenantOf(principal, tenant_id, config.DEFAULT_TENANT_ID);
    const stored = await readOrchestration(sql, tenant, id, version);
    if (!stored) throw noDefinition("orchestration", id);
    const fields = visibleFields(principal, "orchestrations", stored);
    return c.json(Definition.parse({ ...fields, id, version: stored.version }), 200);
  });
}
