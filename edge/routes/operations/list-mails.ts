import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { listMails as list } from "../../../shared/store/mails/mail-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";
import { Mail, ShownOutcome, mailOf } from "../../operations/mail-view.ts";

/** A cursor is the Message-ID of a mail, which has characters that no other list's cursor has. */
const MailCursor = z
  .string()
  .max(500)
  .regex(/^(<[^\s<>]+>)?$/, "is not a cursor of this list")
  .default("");

const Selection = z.object({
  cursor: MailCursor,
  tenant_id: TenantId.optional(),
  run_id: RunId.optional(),
  outcome: ShownOutcome.optional(),
});

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/mails`,
    operationId: operationIdAt(prefix, "listMails"),
    tags: ["Operations"],
    summary: "List mails",
    description:
      "The mails that runs have queued with `send_email`, sent or pending, the newest first, without their texts. The header `Link` has " +
      "the next page. A tenant's key gets only its tenant's mails. How long they are listed is a setting of the lane `mail`.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend(Selection.shape) },
    responses: { 200: json(z.array(Mail), "The mails"), ...problems(400) },
  });

export const listMails = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id, run_id = null, outcome = null } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const before = cursor === "" ? null : cursor;
    const rows = await list(c.get("services").sql, { tenant, run: run_id, outcome }, before, limit);
    const next = nextCursor(rows, limit, ({ message_id }) => message_id);
    linkNext(c, next);
    return c.json(rows.map(mailOf), 200);
  });
};
