import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { parseOrchestration } from "../../../shared/contracts/definition/index.ts";
import { saveOrchestration } from "../../../shared/store/definitions/orchestrations.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import {
  NewDefinitionId,
  OwnerQuery,
  Saved,
  definitionOf,
  ownerOf,
  withId,
} from "../../definitions/resource.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "put",
  path: "/api/v2/orchestrations/{id}",
  summary: "Save an orchestration",
  description:
    "The whole graph is checked. Every save is a new version; runs keep the version they began with.",
  security: [{ key: ["definitions:write"] }],
  middleware: [needs("definitions:write"), jsonBody] as const,
  request: {
    params: z.object({ id: NewDefinitionId }),
    query: OwnerQuery,
    body: { required: true, content: { "application/json": { schema: z.record(z.string(), z.unknown()) } } },
  },
  responses: { 200: json(Saved, "Saved"), ...problems(400, 413, 415, 422) },
});

export function putOrchestration(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const definition = definitionOf(parseOrchestration(withId(c.req.valid("json"), id)));
    const { name, description } = definition;
    const row = { id, name, description, definition: JSON.stringify(definition) };
    const version = await saveOrchestration(c.get("services").sql, owner, row);
    return c.json({ id, version, tenant_id: owner === "" ? null : owner }, 200);
  });
}
