import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import {
  deleteDefinition as remove,
  readDefinition,
} from "../../../shared/store/definitions/agents-and-tools.ts";
import type { Kind } from "../../../shared/store/definitions/stored-definition.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { OwnerQuery, ownerOf } from "../../definitions/definition-request.ts";
import { nothingToDelete } from "../../definitions/definition-view.ts";
import { kindNames } from "../../definitions/kinds.ts";
import { needs } from "../../http/middleware/principal.ts";

const routeOf = (kind: Kind) =>
  createRoute({
    method: "delete",
    path: `/api/v2/${kindNames[kind].path}/{id}`,
    operationId: `delete${kindNames[kind].operation}`,
    tags: ["Definitions"],
    summary: `Delete one of the ${kindNames[kind].many}`,
    security: [{ key: ["definitions:write"] }],
    middleware: [needs("definitions:write")] as const,
    request: { params: z.object({ id: z.string() }), query: OwnerQuery },
    responses: { 204: { description: "Deleted" }, ...problems(404) },
  });

export const deleteDefinition = (kind: Kind) => (api: Api) => {
  api.openapi(routeOf(kind), async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const { sql } = c.get("services");
    if (!(await remove(sql, kind, owner, id))) {
      const { one } = kindNames[kind];
      throw await nothingToDelete(one, id, owner, (tenant) => readDefinition(sql, kind, tenant, id));
    }
    return c.body(null, 204);
  });
};
