import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { saveOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import {
  NewDefinitionId,
  OwnerQuery,
  requireDefinition,
  UNKNOWN_FIELDS,
  ownerOf,
  requireOwner,
} from "../../definitions/definition-request.ts";
import { WARNINGS } from "../../definitions/save-warnings.ts";
import { SavedDefinition } from "../../definitions/definition-view.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "put",
  path: "/api/v2/orchestrations/{id}",
  operationId: "putOrchestration",
  tags: ["Definitions"],
  summary: "Save an orchestration",
  description: `The whole graph is validated. Every save makes a new version; a run keeps the version that it started with. ${UNKNOWN_FIELDS} ${WARNINGS}`,
  security: [{ key: ["definitions:write"] }],
  middleware: [needs("definitions:write"), jsonBody()] as const,
  request: {
    params: z.object({ id: NewDefinitionId }),
    query: OwnerQuery,
    body: { required: true, content: { "application/json": { schema: z.record(z.string(), z.unknown()) } } },
  },
  responses: { 200: json(SavedDefinition, "Saved"), ...problems(400, 404, 409, 413, 415) },
});

export function putOrchestration(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const body = c.req.valid("json");
    const { row, warnings } = await requireDefinition(c, "orchestrations", { id, owner, body });
    const services = c.get("services");
    await requireOwner(services, owner);
    const version = await saveOrchestration(services.sql, owner, row);
    return c.json({ id, version, tenant_id: owner === "" ? null : owner, warnings }, 200);
  });
}
