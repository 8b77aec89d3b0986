import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listProviderKeys as list } from "../../../shared/store/money/provider-keys.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { ProviderKey, keyTenantOf, providerKeyOf } from "../../definitions/provider-key.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/provider-keys",
  operationId: "listProviderKeys",
  tags: ["Definitions"],
  summary: "List the keys of a tenant at providers of models",
  description: "Ordered by provider. The keys themselves are never shown.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: OwnerQuery },
  responses: { 200: json(z.array(ProviderKey), "The keys, masked"), ...problems() },
});

export function listProviderKeys(api: Api): void {
  api.openapi(route, async (c) => {
    const tenant = keyTenantOf(c, c.req.valid("query").tenant_id);
    const rows = await list(c.get("services").sql, tenant);
    return c.json(
      rows.map((row) => providerKeyOf(tenant, row)),
      200,
    );
  });
}
