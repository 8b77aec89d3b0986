import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { Budget } from "../../../shared/contracts/budget.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { readBudgets } from "../../../shared/store/money/budget-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";
import { PageQuery, badCursor, linkNext, nextCursor } from "../../http/paging.ts";

/** `<tenant> <id>` of a budget; the id of an end user's budget has the user's name in it, which may be any text. */
const Cursor = z.string().max(400).default("");

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/budgets`,
    operationId: operationIdAt(prefix, "listBudgets"),
    tags: ["Money"],
    summary: "List budgets",
    description:
      "Each with what is spent and reserved in its current period. A tenant's key gets only its tenant's budgets. The header `Link` has the next page.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: PageQuery.extend({ cursor: Cursor, tenant_id: TenantId.optional() }) },
    responses: { 200: json(z.array(Budget.meta({ id: "Budget" })), "The budgets"), ...problems(400) },
  });

export const listBudgets = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { cursor, limit, tenant_id } = c.req.valid("query");
    const tenant = tenantFilterOf(c.get("principal"), tenant_id);
    const budgets = await readBudgets(c.get("services").sql, { tenant, after: placeOf(cursor), limit });
    const next = nextCursor(budgets, limit, (budget) => `${budget.tenant_id} ${budget.id}`);
    linkNext(c, next);
    return c.json(budgets, 200);
  });
};

function placeOf(cursor: string): Pick<Budget, "id" | "tenant_id"> | null {
  if (cursor === "") return null;
  const end = cursor.indexOf(" ");
  const tenant = TenantId.safeParse(cursor.slice(0, Math.max(0, end)));
  if (!tenant.success) throw badCursor();
  return { tenant_id: tenant.data, id: cursor.slice(end + 1) };
}
