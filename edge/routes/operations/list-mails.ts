import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { MailOutcome } from "../../../shared/contracts/mail.ts";
import { listMails as list } from "../../../shared/store/mails/list-mails.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";
import { isoTime } from "../../../shared/text/iso-time.ts";

const Outcome = z.enum([...MailOutcome.options, "pending"]);

const Mail = z
  .object({
    message_id: z.string(),
    tenant_id: z.string(),
    run_id: RunId,
    priority: z.number().int(),
    recipients: z.array(z.string()),
    subject: z.string(),
    /** `unknown`: the mail server may have taken the mail, so it is not sent again. */
    outcome: Outcome,
    /** How many tries have failed. */
    failures: z.number().int(),
    last_error: z.string().nullable(),
    /** When the mail server took the mail for some recipients: those for whom it refused it for good. */
    refused: z.array(z.string()),
    /** Then also those for whom it has not taken it yet: a pending mail is tried again for these, and a mail that is `sent` did not reach them in all its tries. */
    deferred: z.array(z.string()),
    created_at: z.iso.datetime(),
    /** When it is due; while a worker sends it, the time by which that worker must be done. */
    next_at: z.iso.datetime().nullable(),
    done_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "Mail" });

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
  outcome: Outcome.optional(),
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
    const mails = rows.map(({ created_at_ms, next_at_ms, done_at_ms, ...row }) => ({
      ...row,
      refused: row.refused.filter((recipient) => !row.deferred.includes(recipient)),
      outcome: row.outcome ?? ("pending" as const),
      created_at: isoTime(created_at_ms),
      next_at: isoTime(next_at_ms),
      done_at: isoTime(done_at_ms),
    }));
    return c.json(mails, 200);
  });
};
