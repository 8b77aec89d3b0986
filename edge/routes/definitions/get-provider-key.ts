import { createRoute } from "@hono/zod-openapi";
import { findProviderKey } from "../../../shared/store/money/provider-keys.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import {
  ProviderKey,
  ProviderParams,
  keyTenantOf,
  noProviderKey,
  providerKeyOf,
} from "../../definitions/provider-key.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/provider-keys/{provider}",
  operationId: "getProviderKey",
  tags: ["Definitions"],
  summary: "Read whether a tenant has a key of its own at a provider",
  description: "The key itself is never shown.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: ProviderParams, query: OwnerQuery },
  responses: { 200: json(ProviderKey, "The key, masked"), ...problems(404) },
});

export function getProviderKey(api: Api): void {
  api.openapi(route, async (c) => {
    const { provider } = c.req.valid("param");
    const tenant = keyTenantOf(c, c.req.valid("query").tenant_id);
    const row = await findProviderKey(c.get("services").sql, tenant, provider);
    if (row === null) throw noProviderKey(tenant, provider);
    return c.json(providerKeyOf(tenant, row), 200);
  });
}
