import { createRoute } from "@hono/zod-openapi";
import { ProviderKeyRequest } from "../../../shared/contracts/provider-key.ts";
import { saveProviderKey } from "../../../shared/store/money/provider-keys.ts";
import { OwnerQuery } from "../../definitions/definition-request.ts";
import {
  ProviderKey,
  ProviderParams,
  keyTenantOf,
  providerKeyOf,
  sealedProviderKey,
} from "../../definitions/provider-key.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";

const route = createRoute({
  method: "put",
  path: "/api/v2/provider-keys/{provider}",
  operationId: "putProviderKey",
  tags: ["Definitions"],
  summary: "Save the key of a tenant at a provider of models",
  description:
    "The model calls of its runs use this key instead of the operator's within 5 s, those of runs under way included. The limits of calls to " +
    "the provider, and what is learned of them, are then the tenant's own. The key is sealed and never shown, so each save sends it. " +
    "`base_url` is a public address, or EGRESS_ALLOW names its host. Without MASTER_KEY a save is a 422.",
  security: [{ key: ["definitions:write"] }],
  middleware: [
    needs("definitions:write"),
    jsonBody({ schema: ProviderKeyRequest }),
    audited("putProviderKey"),
  ] as const,
  request: {
    params: ProviderParams,
    query: OwnerQuery,
    body: { required: true, content: { "application/json": { schema: ProviderKeyRequest } } },
  },
  responses: { 200: json(ProviderKey, "Saved"), ...problems(400, 404, 409, 413, 415) },
});

export function putProviderKey(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const { provider } = c.req.valid("param");
    const tenant = keyTenantOf(c, c.req.valid("query").tenant_id);
    const sealed = await sealedProviderKey(services.config, tenant, provider, c.req.valid("json"));
    await requireTenant(services, tenant);
    return c.json(providerKeyOf(tenant, await saveProviderKey(services.sql, tenant, sealed)), 200);
  });
}
