import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { deleteMailServer as remove } from "../../../shared/store/mails/mail-servers.ts";
import { operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noMailServer } from "../../operations/mail-server.ts";
import { requireOwnTenant } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/tenants/{id}/smtp`,
    operationId: operationIdAt(prefix, "deleteMailServer"),
    tags: ["Operations"],
    summary: "Delete the mail server of a tenant",
    description: "Its mails, those that wait included, go through the operator's mail server from then on.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("deleteMailServer")] as const,
    request: { params: z.object({ id: TenantId }) },
    responses: { 204: { description: "Deleted" }, ...problems(404) },
  });

export const deleteMailServer = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { id } = c.req.valid("param");
    requireOwnTenant(c.get("principal"), id);
    c.set("audit", { target: id, tenant: id });
    if (!(await remove(c.get("services").sql, id))) throw noMailServer(id);
    return c.body(null, 204);
  });
};
