import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { readMail, retryMail as makeDue } from "../../../shared/store/mails/mail-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { Mail, mailOf } from "../../operations/mail-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/mails/{id}/retry`,
    operationId: operationIdAt(prefix, "retryMail"),
    tags: ["Operations"],
    summary: "Send a mail again",
    description:
      "A mail that was rejected, or whose outcome is unknown, is due at once and has all its tries again, under the same Message-ID. " +
      "One whose outcome is unknown may come twice. `id` is its `message_id`, percent-encoded in the path.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("retryMail")] as const,
    request: { params: z.object({ id: z.string().max(500) }) },
    responses: { 202: json(Mail, "Due again"), ...problems(404, 409) },
  });

export const retryMail = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const { tenant } = c.get("principal");
    const { id } = c.req.valid("param");
    const row = await makeDue(sql, tenant, id);
    if (row) return c.json(mailOf(row), 202);
    const mail = await readMail(sql, tenant, id);
    throw mail ? isNotOver(mailOf(mail)) : new AppError("not_found", "There is no such mail.");
  });
};

function isNotOver({ outcome }: z.infer<typeof Mail>): AppError {
  if (outcome === "sent") return new AppError("conflict", "The mail was sent.");
  if (outcome === "pending") return new AppError("conflict", "The mail is pending: it is not over yet.");
  return new AppError("conflict", "Too many mails of this tenant wait: retry it when some of them are sent.");
}
