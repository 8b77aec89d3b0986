import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { saveDefinitionIf } from "../../../shared/store/definitions/agents-and-tools.ts";
import type { Kind } from "../../../shared/store/definitions/stored-definition.ts";
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
import { kindNames } from "../../definitions/kinds.ts";
import { needs } from "../../http/middleware/principal.ts";

const SECRETS =
  "The values of headers, except those named in `public_headers`, and credentials in the URL are secrets: they are sealed, and answers show `********` in their place. A mask that is sent back keeps the secret, as long as the URL names the same server. Without MASTER_KEY a tool with a secret is a 422.";

const LISTING =
  "`headers` and `oauth` (the grant `client_credentials`) give a server its credentials; `token` is a short form of the header `Authorization: Bearer …`. After a save, a worker lists the server's tools within seconds: `GET` shows them in `listing`, or why the server cannot be used. Agents and steps name them `server__tool`, and agents also `server__*`.";

const NOTES: { [K in Kind]: string } = { agents: "", tools: SECRETS, mcp_servers: `${SECRETS} ${LISTING}` };

/** How often a definition with masks is read again, because another save has changed the secrets that the masks keep. */
const MAX_TRIES = 5;

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
    responses: { 200: json(SavedDefinition, "Saved"), ...problems(400, 404, 409, 413, 415) },
  });

export const putDefinition = (kind: Kind) => (api: Api) => {
  api.openapi(routeOf(kind), async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const services = c.get("services");
    for (let tries = 0; tries < MAX_TRIES; tries++) {
      const read = await requireDefinition(c, kind, { id, owner, body: c.req.valid("json") });
      const { row, warnings, keepsSecretsOf } = read;
      await requireOwner(services, owner);
      const version = await saveDefinitionIf(services.sql, kind, owner, row, keepsSecretsOf);
      if (version !== null)
        return c.json({ id, version, tenant_id: owner === "" ? null : owner, warnings }, 200);
    }
    throw new AppError("conflict", "Other requests save this definition at the same time; try again.");
  });
};
