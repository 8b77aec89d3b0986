import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import {
  findValidKeys,
  newApiKey,
  readApiKey,
  rotateApiKey as rotate,
} from "../../../shared/store/tenants/api-keys.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import {
  KeyId,
  NewApiKey,
  notValid,
  keyViewOf,
  noKey,
  requireScopes,
} from "../../operations/api-key-view.ts";

const Request = z
  .object({
    overlap_seconds: z
      .number()
      .int()
      .min(0)
      .max(30 * 86_400)
      .default(3_600)
      .meta({ description: "How long the old key stays valid" }),
  })
  .meta({ id: "RotateApiKey" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/api-keys/{id}/rotate`,
    operationId: operationIdAt(prefix, "rotateApiKey"),
    tags: ["Operations"],
    summary: "Replace an API key by a new one",
    description:
      "The new key has the tenant, the name, the scopes and the expiry of the old one, which stays valid for " +
      "`overlap_seconds`. A key is rotated once: when the response was lost, rotate the key that `rotated_to` names.",
    security: [{ key: ["admin"] }],
    middleware: [
      needs("admin"),
      jsonBody({ schema: Request, optional: true }),
      audited("rotateApiKey"),
    ] as const,
    request: {
      params: z.object({ id: KeyId }),
      body: { content: { "application/json": { schema: Request } } },
    },
    responses: { 201: json(NewApiKey, "The new key"), ...problems(400, 404, 409, 413, 415) },
  });

export const rotateApiKey = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const principal = c.get("principal");
    const { id } = c.req.valid("param");
    const { overlap_seconds = 3_600 } = Request.partial().parse(c.req.valid("json") ?? {});
    const old = await readApiKey(sql, principal.tenant, id);
    if (!old) throw noKey();
    c.set("audit", { target: id, tenant: old.tenant_id });
    requireScopes(principal, old.scopes);
    const key = newApiKey();
    const row = await rotate(sql, id, key, overlap_seconds, principal.key_id);
    if (!row && !(await findValidKeys(sql, [principal.key_id])).has(principal.key_id)) throw notValid();
    if (!row) throw new AppError("conflict", "This key is revoked, has expired, or was rotated before.");
    return c.json({ ...keyViewOf(row), key }, 201);
  });
};
