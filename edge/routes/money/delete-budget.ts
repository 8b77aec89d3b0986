import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { BudgetId } from "../../../shared/contracts/budget.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { deleteBudget as remove } from "../../../shared/store/money/budget-rows.ts";
import { operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { wakeBudgetWaits } from "../../operations/wake-budget-waits.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/budgets/{id}`,
    operationId: operationIdAt(prefix, "deleteBudget"),
    tags: ["Money"],
    summary: "Delete a budget",
    description: "Runs that wait for it go on.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin"), audited("deleteBudget")] as const,
    request: {
      params: z.object({ id: BudgetId }),
      query: z.object({ tenant_id: TenantId.optional() }),
    },
    responses: { 204: { description: "Deleted" }, ...problems(404) },
  });

export const deleteBudget = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { id } = c.req.valid("param");
    const named = c.req.valid("query").tenant_id;
    const tenant = tenantOf(c.get("principal"), named, services.config.DEFAULT_TENANT_ID);
    c.set("audit", { target: id, tenant });
    if (!(await remove(services.sql, tenant, id))) {
      throw new AppError("not_found", `The tenant ${tenant} has no budget ${id}.`);
    }
    await wakeBudgetWaits(services);
    return c.body(null, 204);
  });
};
