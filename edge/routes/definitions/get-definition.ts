import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { readDefinition } from "../../../shared/store/definitions/agents-and-tools.ts";
import { readListingState } from "../../../shared/store/definitions/mcp-servers.ts";
import type { Kind } from "../../../shared/store/definitions/stored-definition.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { Definition, noDefinition } from "../../definitions/definition-view.ts";
import { PARTLY_SHOWN, visibleFields } from "../../definitions/visible-fields.ts";
import { listingView } from "../../definitions/mcp-server-view.ts";
import { maskTool } from "../../definitions/masked-tool.ts";
import { kindNames } from "../../definitions/kinds.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";

const routeOf = (kind: Kind) =>
  createRoute({
    method: "get",
    path: `/api/v2/${kindNames[kind].path}/{id}`,
    operationId: `get${kindNames[kind].operation}`,
    tags: ["Definitions"],
    summary: `Read one of the ${kindNames[kind].many}`,
    description: PARTLY_SHOWN,
    security: [{ key: ["runs:read"] }],
    middleware: [needs("runs:read")] as const,
    request: { params: z.object({ id: z.string() }), query: OwnerQuery },
    responses: { 200: json(Definition, "The definition, with its version"), ...problems(404) },
  });

export const getDefinition = (kind: Kind) => (api: Api) => {
  api.openapi(routeOf(kind), async (c) => {
    const { id } = c.req.valid("param");
    const { sql, config } = c.get("services");
    const principal = c.get("principal");
    const tenant = tenantOf(principal, c.req.valid("query").tenant_id, config.DEFAULT_TENANT_ID);
    const stored = await readDefinition(sql, kind, tenant, id);
    if (!stored) throw noDefinition(kindNames[kind].one, id);
    const fields = visibleFields(principal, kind, stored);
    const document = Definition.parse({ ...fields, id, version: stored.version });
    if (kind === "agents") return c.json(document, 200);
    const shown = Definition.parse(maskTool(document));
    if (kind === "tools") return c.json(shown, 200);
    const state = await readListingState(sql, stored.owner, id);
    return c.json({ ...shown, listing: listingView(state) }, 200);
  });
};
