import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { findMailServer } from "../../../shared/store/mails/mail-servers.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { MailServer, mailServerOf, noMailServer } from "../../operations/mail-server.ts";
import { requireOwnTenant } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/tenants/{id}/smtp`,
    operationId: operationIdAt(prefix, "getMailServer"),
    tags: ["Operations"],
    summary: "Read the mail server of a tenant",
    description: "Its URL is a secret as a whole. A tenant's key reads that of its own tenant.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { params: z.object({ id: TenantId }) },
    responses: { 200: json(MailServer, "The mail server"), ...problems(404) },
  });

export const getMailServer = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { id } = c.req.valid("param");
    requireOwnTenant(c.get("principal"), id);
    const row = await findMailServer(c.get("services").sql, id);
    if (row === null) throw noMailServer(id);
    return c.json(mailServerOf(id, row), 200);
  });
};
