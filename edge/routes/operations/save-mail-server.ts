import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { MailServerRequest, keepsUrl } from "../../../shared/contracts/mail-server.ts";
import { invalidField } from "../../../shared/errors.ts";
import { saveMailServer as save } from "../../../shared/store/mails/mail-servers.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { MailServer, mailServerOf, sealedMailServer } from "../../operations/mail-server.ts";
import { requireOwnTenant } from "../../operations/tenant-change.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "put",
    path: `${prefix}/tenants/{id}/smtp`,
    operationId: operationIdAt(prefix, "saveMailServer"),
    tags: ["Operations"],
    summary: "Set the mail server of a tenant",
    description:
      "The mails that its runs queue with `send_email` go through this server and have its sender, those that wait already included. " +
      "The server has a public address and the port 25, 465, 587 or 2525, or its host is named in EGRESS_ALLOW (403 otherwise). Two of " +
      "its mails are sent at a time. Without MASTER_KEY the URL is a 422.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), jsonBody({ schema: MailServerRequest }), audited("saveMailServer")] as const,
    request: {
      params: z.object({ id: TenantId }),
      body: { required: true, content: { "application/json": { schema: MailServerRequest } } },
    },
    responses: { 200: json(MailServer, "Saved"), ...problems(400, 404, 409, 413, 415) },
  });

export const saveMailServer = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { id } = c.req.valid("param");
    const { smtp_url, smtp_from } = c.req.valid("json");
    requireOwnTenant(c.get("principal"), id);
    c.set("audit", { target: id, tenant: id });
    const sealed = keepsUrl(smtp_url) ? null : await sealedMailServer(services.config, id, smtp_url);
    await requireTenant(services, id);
    const row = await save(services.sql, id, sealed, smtp_from);
    if (row === null)
      throw invalidField("smtp_url", "is a mask, and the tenant has no mail server whose URL it could keep");
    return c.json(mailServerOf(id, row), 200);
  });
};
