import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId, plainName } from "../../../shared/contracts/ids.ts";
import { Scope } from "../../../shared/contracts/tenant.ts";
import type { Principal } from "../../../shared/contracts/tenant.ts";
import { ClientTime } from "../../../shared/contracts/time.ts";
import { AppError } from "../../../shared/errors.ts";
import { countValidKeys, insertApiKey, newApiKey } from "../../../shared/store/tenants/api-keys.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { NewApiKey, notValid, keyViewOf, requireScopes } from "../../operations/api-key-view.ts";
import { invalidFields } from "../../http/problem.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import type { Services } from "../../services.ts";

/** The most valid keys of a tenant, and of the platform. */
const MAX_KEYS = 1_000;

const Request = z
  .object({
    name: plainName(200),
    tenant_id: TenantId.optional(),
    platform: z.boolean().default(false).meta({ description: "A key that may name any tenant" }),
    scopes: z
      .array(Scope)
      .min(1)
      .max(Scope.options.length)
      .refine((scopes) => new Set(scopes).size === scopes.length, "must name each scope once"),
    expires_at: ClientTime.nullish().meta({ description: "Absent or null: the key does not expire" }),
  })
  .meta({ id: "ApiKeyRequest" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/api-keys`,
    operationId: operationIdAt(prefix, "createApiKey"),
    tags: ["Operations"],
    summary: "Create an API key",
    description:
      "The response has the key, this once. A tenant's key makes keys of its tenant; a platform key names the tenant, or says " +
      "`platform: true`. A key can give the scopes that it has, and no others.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), jsonBody({ schema: Request }), audited("createApiKey")] as const,
    request: { body: { required: true, content: { "application/json": { schema: Request } } } },
    responses: { 201: json(NewApiKey, "The key"), ...problems(400, 409, 413, 415) },
  });

export const createApiKey = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { sql } = services;
    const principal = c.get("principal");
    const { name, scopes, expires_at, ...owner } = c.req.valid("json");
    const tenant = tenantOfNewKey(principal, owner);
    requireScopes(principal, scopes);
    const expiresAt = expires_at === undefined || expires_at === null ? null : new Date(expires_at);
    if (expiresAt !== null && expiresAt.getTime() <= Date.now()) throw inThePast();
    await requireRoom(services, tenant);
    const key = newApiKey();
    const newKey = { tenant, name, scopes, ...(expiresAt && { expiresAt }) };
    const row = await insertApiKey(sql, key, newKey, principal.key_id);
    if (row === null) throw notValid();
    c.set("audit", { target: row.key_id, tenant });
    return c.json({ ...keyViewOf(row), key }, 201);
  });
};

/** The tenant of the new key; null: the platform. A request that only leaves out `tenant_id` gets no key for all tenants. */
function tenantOfNewKey(
  principal: Principal,
  { tenant_id, platform }: { tenant_id?: TenantId | undefined; platform: boolean },
): TenantId | null {
  const tenant = tenantFilterOf(principal, tenant_id);
  if (platform && principal.tenant !== null) {
    throw new AppError("forbidden", "This key belongs to a tenant: it cannot make keys of the platform.");
  }
  if (platform === (tenant === null)) return tenant;
  const message = "or platform: true is required, and not both";
  throw invalidFields([{ path: "tenant_id", message }]);
}

/** @throws AppError `tenant_deleted`; `conflict` when the tenant, or the platform, has 1,000 valid keys */
async function requireRoom(services: Services, tenant: TenantId | null): Promise<void> {
  if (tenant !== null) await requireTenant(services, tenant);
  if ((await countValidKeys(services.sql, tenant)) < MAX_KEYS) return;
  throw new AppError("conflict", `There are ${MAX_KEYS} valid keys already; revoke some of them first.`);
}

function inThePast(): AppError {
  return invalidFields([{ path: "expires_at", message: "must be in the future" }]);
}
