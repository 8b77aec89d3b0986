import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import {
  deleteOrchestration as remove,
  readOrchestration,
} from "../../../shared/store/definitions/orchestrations.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { OwnerQuery, ownerOf } from "../../definitions/definition-request.ts";
import { nothingToDelete } from "../../definitions/definition-view.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "delete",
  path: "/api/v2/orchestrations/{id}",
  operationId: "deleteOrchestration",
  tags: ["Definitions"],
  summary: "Delete an orchestration",
  description: "It accepts no new runs. Runs that were accepted continue; its versions are kept.",
  security: [{ key: ["definitions:write"] }],
  middleware: [needs("definitions:write")] as const,
  request: { params: z.object({ id: z.string() }), query: OwnerQuery },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteOrchestration(api: Api): void {
  api.openapi(route, async (c) => {
    const { id } = c.req.valid("param");
    const owner = ownerOf(c.get("principal"), c.req.valid("query").tenant_id);
    const { sql } = c.get("services");
    if (!(await remove(sql, owner, id))) {
      throw await nothingToDelete("orchestration", id, owner, (tenant) => readOrchestration(sql, tenant, id));
    }
    return c.body(null, 204);
  });
}
