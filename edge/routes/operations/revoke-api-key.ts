import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { readApiKey, revokeApiKey as revoke } from "../../../shared/store/tenants/api-keys.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";
import { KeyId, noKey } from "../../operations/api-key-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/api-keys/{id}`,
    operationId: operationIdAt(prefix, "revokeApiKey"),
    tags: ["Operations"],
    summary: "Revoke an API key",
    description:
      "Within 30 s requests with it are refused, and its open streams and those of its stream tokens end. A revoked key " +
      "stays in the list; a repeated request changes nothing.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("revokeApiKey")] as const,
    request: { params: z.object({ id: KeyId }) },
    responses: {
      200: json(z.object({ status: z.literal("revoked"), id: KeyId }), "Revoked"),
      ...problems(404),
    },
  });

export const revokeApiKey = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const { tenant } = c.get("principal");
    const { id } = c.req.valid("param");
    const key = await readApiKey(sql, tenant, id);
    if (!key) throw noKey();
    c.set("audit", { target: id, tenant: key.tenant_id });
    await revoke(sql, id, tenant);
    return c.json({ status: "revoked" as const, id }, 200);
  });
};
