import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { parseAgent, parseTool } from "../../../shared/contracts/definition/index.ts";
import { saveDefinition } from "../../../shared/store/definitions/agents-and-tools.ts";
import type { Kind } from "../../../shared/store/definitions/stored-definition.ts";
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

/** How a body becomes a definition. A tool is known by its name: that is its id. */
const read: { [K in Kind]: (body: Record<string, unknown>, id: string) => { name: string } } = {
  agents: (body, id) => definitionOf(parseAgent(withId(body, id))),
  tools: (body, id) => definitionOf(parseTool(withId(body, id, "name"))),
};

const routeOf = (kind: Kind) =>
  createRoute({
    method: "put",
    path: `/api/v2/${kind}/{id}`,
    summary: `Save one of the ${kind}`,
    security: [{ key: ["definitions:write"] }],
    middleware: [needs("definitions:write"), jsonBody] as const,
    request: {
      params: z.object({ id: NewDefinitionId }),
      query: OwnerQuery,
      body: {
        required: true,
        content: { "application/json": { schema: z.record(z.string(), z.unknown()) } },
      },
    },
    responses: { 200: json(Saved, "Saved"), ...problems(400, 413, 415, 422) },
  });

export const putDefinition = (kind: Kind) => (api: Api) => {
  api.openapi(routeOf(kind), async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const definition = read[kind](c.req.valid("json"), id);
    const row = { id, name: definition.name, definition: JSON.stringify(definition) };
    const version = await saveDefinition(c.get("services").sql, kind, owner, row);
    return c.json({ id, version, tenant_id: owner === "" ? null : owner }, 200);
  });
};
