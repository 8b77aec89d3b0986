import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId, randomHex } from "../../../shared/contracts/ids.ts";
import { mailTestPlace } from "../../../shared/contracts/mail-server.ts";
import type { MailTest } from "../../../shared/contracts/mail-server.ts";
import { invalidField } from "../../../shared/errors.ts";
import { findMailServer } from "../../../shared/store/mails/mail-servers.ts";
import { findMailWorker } from "../../../shared/store/workers/worker-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { noMailServer, requireMailTarget, sealMailUrl } from "../../operations/mail-server.ts";
import { StoreTest } from "../../operations/store-test.ts";
import type { Services } from "../../services.ts";

const Request = z
  .object({
    smtp_url: z.string().min(1).max(2_000).optional().describe("A mail server that is not stored"),
    tenant_id: TenantId.optional().describe("The tenant whose stored mail server is tested"),
  })
  .meta({ id: "TestSmtp" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/config/test-smtp`,
    operationId: operationIdAt(prefix, "testSmtp"),
    tags: ["Operations"],
    summary: "Test whether workers can use their mail server, or another one",
    description:
      "A worker with the lane `mail` connects, encrypts and logs in, and sends no mail: without fields at its own `SMTP_URL`, with " +
      "`tenant_id` at the tenant's server, with `smtp_url` at that one. That has a public address and a port of mail servers, or its host " +
      "is named in EGRESS_ALLOW (403 otherwise). The URL reaches the worker sealed, and is not stored.",
    security: [{ key: ["admin"] }],
    middleware: [
      needsPlatform("admin"),
      jsonBody({ schema: Request, optional: true }),
      audited("testSmtp"),
    ] as const,
    request: { body: { content: { "application/json": { schema: Request } } } },
    responses: { 200: json(StoreTest, "The outcome"), ...problems(400, 404, 413, 415) },
  });

export const testSmtp = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const question = randomHex(16);
    const test = await testOf(services, c.req.valid("json") ?? {}, question);
    const worker = await findMailWorker(services.sql);
    if (worker === null) return c.json(failed("No worker runs that sends mails."), 200);
    const outcome = await services.askMailTest(worker, question, test);
    return c.json(outcome ?? failed("The worker did not answer in time."), 200);
  });
};

/** The test that a worker makes; null: of its own mail server. @throws AppError `invalid`, `forbidden`, `not_found` */
async function testOf(
  { config, sql }: Services,
  { smtp_url, tenant_id }: z.infer<typeof Request>,
  question: string,
): Promise<MailTest> {
  if (smtp_url !== undefined) {
    if (tenant_id !== undefined) throw invalidField("tenant_id", "and smtp_url exclude each other");
    requireMailTarget(config, smtp_url);
    return { tenant: null, sealed: await sealMailUrl(config, smtp_url, mailTestPlace(question)) };
  }
  if (tenant_id === undefined) return null;
  const row = await findMailServer(sql, tenant_id);
  if (row === null) throw noMailServer(tenant_id);
  return { tenant: tenant_id, sealed: row.smtp_url };
}

function failed(message: string): StoreTest {
  return { status: "error", message };
}
