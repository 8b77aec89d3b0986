import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import {
  parseNewAgent,
  parseNewMcpServer,
  parseNewTool,
  toolWarnings,
} from "../../../shared/contracts/definition/index.ts";
import { saveDefinition, readOwnDefinition } from "../../../shared/store/definitions/agents-and-tools.ts";
import type { FieldError } from "../../../shared/errors.ts";
import { readStoredTool, sealedNameOfServer } from "../../../shared/security/sealed-tool.ts";
import type { Owner } from "../../../shared/contracts/tenant.ts";
import type { Kind, NewDefinition } from "../../../shared/store/definitions/stored-definition.ts";
import { json, problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import {
  NewDefinitionId,
  OwnerQuery,
  requireDefinition,
  UNKNOWN_FIELDS,
  ownerOf,
  withId,
} from "../../definitions/definition-request.ts";
import { agentWarnings, WARNINGS } from "../../definitions/save-warnings.ts";
import { serverWarnings } from "../../definitions/mcp-server-view.ts";
import { isMasked, textToStore } from "../../definitions/masked-tool.ts";
import { SavedDefinition } from "../../definitions/definition-view.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { kindNames } from "../../definitions/kinds.ts";
import { needs } from "../../http/middleware/principal.ts";

const SECRETS =
  "The values of headers, except those named in `public_headers`, and credentials in the URL are secrets: they are sealed, and answers show `********` in their place. A mask that is sent back keeps the secret, as long as the URL names the same server. Without MASTER_KEY a tool with a secret is a 422.";

const LISTING =
  "`headers` and `oauth` (the grant `client_credentials`) give a server its credentials; `token` is a short form of the header `Authorization: Bearer …`. After a save, a worker lists the server's tools within seconds: `GET` shows them in `listing`, or why the server cannot be used. Agents and steps name them `server__tool`, and agents also `server__*`.";

const NOTES: { [K in Kind]: string } = { agents: "", tools: SECRETS, mcp_servers: `${SECRETS} ${LISTING}` };

const routeOf = (kind: Kind) =>
  createRoute({
    method: "put",
    path: `/api/v2/${kindNames[kind].path}/{id}`,
    operationId: `put${kindNames[kind].operation}`,
    tags: ["Definitions"],
    summary: `Save one of the ${kindNames[kind].many}`,
    description: `${UNKNOWN_FIELDS} ${WARNINGS} ${NOTES[kind]}`.trimEnd(),
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
    const { row, warnings } = await readers[kind](c, id, owner);
    const { sql } = c.get("services");
    const version = await saveDefinition(sql, kind, owner, row);
    return c.json({ id, version, tenant_id: owner === "" ? null : owner, warnings }, 200);
  });
};

/** A definition as it is stored, and the warnings about it. */
type Read = { row: NewDefinition; warnings: FieldError[] };

async function readAgent(c: PutContext, id: string, owner: Owner): Promise<Read> {
  const agent = requireDefinition(c, "agents", withId(c.req.valid("json"), id), parseNewAgent);
  const row = { id, name: agent.name, definition: JSON.stringify(agent) };
  return { row, warnings: await agentWarnings(c.get("services").sql, owner, agent) };
}

/** The id of a tool is its name. A tool that was read and is sent back has masks in place of its secrets, which stay as they are. */
async function readTool(c: PutContext, id: string, owner: Owner): Promise<Read> {
  const { sql, config } = c.get("services");
  const tool = requireDefinition(c, "tools", withId(c.req.valid("json"), id, "name"), parseNewTool);
  const stored = isMasked(tool) ? await readOwnDefinition(sql, "tools", owner, id) : null;
  const known = stored === null ? null : readStoredTool(stored);
  const definition = await textToStore(tool, { owner, name: id }, known, config.MASTER_KEY);
  return { row: { id, name: tool.name, definition }, warnings: toolWarnings(tool) };
}

/** The id of an MCP server is its name. Its secrets are kept as those of a tool are. */
async function readServer(c: PutContext, id: string, owner: Owner): Promise<Read> {
  const { sql, config } = c.get("services");
  const body = withId(c.req.valid("json"), id, "name");
  const server = requireDefinition(c, "mcp_servers", body, parseNewMcpServer);
  const stored = isMasked(server) ? await readOwnDefinition(sql, "mcp_servers", owner, id) : null;
  const known = stored === null ? null : readStoredTool(stored);
  const sealedAs = { owner, name: sealedNameOfServer(id) };
  const definition = await textToStore(server, sealedAs, known, config.MASTER_KEY);
  return { row: { id, name: server.label ?? id, definition }, warnings: serverWarnings(server) };
}

const readers: { [K in Kind]: (c: PutContext, id: string, owner: Owner) => Promise<Read> } = {
  agents: readAgent,
  tools: readTool,
  mcp_servers: readServer,
};

type PutContext = Context<ApiEnv, string, { out: { json: Record<string, unknown> } }>;
