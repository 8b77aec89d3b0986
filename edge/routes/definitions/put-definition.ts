import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { parseAgent, parseTool } from "../../../shared/contracts/definition/index.ts";
import type { Parsed } from "../../../shared/contracts/definition/index.ts";
import { saveDefinition, readOwnDefinition } from "../../../shared/store/definitions/agents-and-tools.ts";
import type { Owner } from "../../../shared/contracts/tenant.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import type { Kind } from "../../../shared/store/definitions/stored-definition.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import {
  NewDefinitionId,
  OwnerQuery,
  requireDefinition,
  UNKNOWN_FIELDS,
  ownerOf,
  withId,
} from "../../definitions/definition-request.ts";
import { hasMaskedHeader, keepMaskedHeaders } from "../../definitions/tool-headers.ts";
import { SavedDefinition } from "../../definitions/definition-view.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";

/** Each kind's parser, and the field that holds its id: the id of a tool is its name. */
const kinds: { [K in Kind]: { parse: (json: unknown) => Parsed<{ name: string }>; idField: string } } = {
  agents: { parse: parseAgent, idField: "id" },
  tools: { parse: parseTool, idField: "name" },
};

const routeOf = (kind: Kind) =>
  createRoute({
    method: "put",
    path: `/api/v2/${kind}/{id}`,
    summary: `Save one of the ${kind}`,
    description: UNKNOWN_FIELDS,
    security: [{ key: ["definitions:write"] }],
    middleware: [needs("definitions:write"), jsonBody()] as const,
    request: {
      params: z.object({ id: NewDefinitionId }),
      query: OwnerQuery,
      body: {
        required: true,
        content: { "application/json": { schema: z.record(z.string(), z.unknown()) } },
      },
    },
    responses: { 200: json(SavedDefinition, "Saved"), ...problems(400, 413, 415, 422) },
  });

export const putDefinition = (kind: Kind) => (api: Api) => {
  api.openapi(routeOf(kind), async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const { sql } = c.get("services");
    const body = c.req.valid("json");
    const isMasked = kind === "tools" && hasMaskedHeader(body);
    const { parse, idField } = kinds[kind];
    const document = isMasked ? await withStoredHeaders(sql, owner, id, body) : body;
    const definition = requireDefinition(c, kind, withId(document, id, idField), parse);
    const row = { id, name: definition.name, definition: JSON.stringify(definition) };
    const version = await saveDefinition(sql, kind, owner, row);
    return c.json({ id, version, tenant_id: owner === "" ? null : owner }, 200);
  });
};

/** A tool that was read and is sent back has masks in place of its header values: they stay as they are. */
async function withStoredHeaders(sql: Sql, owner: Owner, id: string, body: Record<string, unknown>) {
  const stored = await readOwnDefinition(sql, "tools", owner, id);
  return keepMaskedHeaders(body, stored === null ? null : Stored.parse(JSON.parse(stored)));
}

const Stored = z.record(z.string(), z.unknown());
