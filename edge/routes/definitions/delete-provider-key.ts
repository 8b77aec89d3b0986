import { createRoute } from "@hono/zod-openapi";
import { deleteProviderKey as remove } from "../../../shared/store/money/provider-keys.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import { ProviderParams, keyTenantOf, noProviderKey } from "../../definitions/provider-key.ts";
import { problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs } from "../../http/middleware/principal.ts";

const route = createRoute({
  method: "delete",
  path: "/api/v2/provider-keys/{provider}",
  operationId: "deleteProviderKey",
  tags: ["Definitions"],
  summary: "Delete the key of a tenant at a provider of models",
  description: "The model calls of its runs use the operator's key within 5 s, if there is one.",
  security: [{ key: ["definitions:write"] }],
  middleware: [needs("definitions:write"), audited("deleteProviderKey")] as const,
  request: { params: ProviderParams, query: OwnerQuery },
  responses: { 204: { description: "Deleted" }, ...problems(404) },
});

export function deleteProviderKey(api: Api): void {
  api.openapi(route, async (c) => {
    const { provider } = c.req.valid("param");
    const tenant = keyTenantOf(c, c.req.valid("query").tenant_id);
    if (!(await remove(c.get("services").sql, tenant, provider))) throw noProviderKey(tenant, provider);
    return c.body(null, 204);
  });
}
