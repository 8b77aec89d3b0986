import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { listApiKeys as list } from "../../../shared/store/tenants/api-keys.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, badCursor, nextCursor } from "../../http/paging.ts";
import { ApiKeyView, keyViewOf } from "../../operations/api-key-view.ts";

const ApiKeyList = z
  .object({ data: z.array(ApiKeyView), next_cursor: z.string().nullable() })
  .meta({ id: "ApiKeyList" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/api-keys`,
    operationId: operationIdAt(prefix, "listApiKeys"),
    tags: ["Operations"],
    summary: "List API keys",
    description:
      "The newest first, revoked and expired ones too, with the first characters of each. A tenant's key gets those of its tenant.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend({ tenant_id: TenantId.optional() }) },
    responses: { 200: json(ApiKeyList, "The keys"), ...problems(400) },
  });

export const listApiKeys = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const rows = await list(c.get("services").sql, tenant, readCursor(cursor), limit);
    const next_cursor = nextCursor(rows, limit, ({ created_us, key_id }) => `${created_us}.${key_id}`);
    return c.json({ data: rows.map(keyViewOf), next_cursor }, 200);
  });
};

/** The key after which a page begins; null: the first page. @throws AppError `bad_cursor` */
function readCursor(cursor: string) {
  if (cursor === "") return null;
  const [, us, key_id] = /^([0-9]{1,16})\.(key_[0-9a-f]{16})$/.exec(cursor) ?? [];
  if (us !== undefined && key_id !== undefined) return { created_us: Number(us), key_id };
  throw badCursor();
}
