import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { Budget, BudgetId, BudgetRequest } from "../../../shared/contracts/budget.ts";
import { modelErrorText } from "../../../shared/contracts/definition/index.ts";
import { replacedPrices } from "../../../shared/contracts/model-price.ts";
import { AppError } from "../../../shared/errors.ts";
import { MAX_BUDGETS, saveBudget as save } from "../../../shared/store/money/budget-rows.ts";
import { readModelPrices } from "../../../shared/store/money/model-prices.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs, tenantOf } from "../../http/middleware/principal.ts";
import { requireTenant } from "../../http/require-tenant.ts";
import { wakeBudgetWaits } from "../../operations/wake-budget-waits.ts";

/** What GET shows of a budget beside the fields of a request. */
const READ_ONLY = [
  "id",
  "template_id",
  "spent_usd",
  "reserved_usd",
  "remaining_usd",
  "resets_at",
  "updated_at",
];

const routeAt = (prefix: string) =>
  createRoute({
    method: "put",
    path: `${prefix}/budgets/{id}`,
    operationId: operationIdAt(prefix, "saveBudget"),
    tags: ["Money"],
    summary: "Create or replace a budget",
    description:
      "The worst case of every model call of the budget's runs is reserved before the call, so the limit holds across branches, runs and workers. A call that does not fit into what is left fails the step with `budget_exceeded` (`fail`), makes the run wait until the limit is raised or the next period begins (`pause`), or uses `downgrade_model` as far as that fits (`downgrade`). It acts on running runs within seconds, and lets runs that wait for it try again. What is spent counts from when the budget was created; another scope or period begins at 0. Fields that only GET has are ignored.",
    security: [{ key: ["admin"] }],
    middleware: [
      needs("admin"),
      jsonBody({ schema: BudgetRequest, readOnly: READ_ONLY }),
      audited("saveBudget"),
    ] as const,
    request: {
      params: z.object({ id: BudgetId }),
      body: {
        required: true,
        content: { "application/json": { schema: BudgetRequest.meta({ id: "BudgetRequest" }) } },
      },
    },
    responses: { 200: json(Budget.meta({ id: "Budget" }), "Saved"), ...problems(400, 404, 409, 413, 415) },
  });

export const saveBudget = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const services = c.get("services");
    const { sql, config } = services;
    const request = c.req.valid("json");
    const tenant = tenantOf(c.get("principal"), request.tenant_id, config.DEFAULT_TENANT_ID);
    const { id } = c.req.valid("param");
    c.set("audit", { target: id, tenant });
    const wrong = await downgradeError(sql, request);
    if (wrong !== null) {
      throw new AppError("invalid", `Not valid: downgrade_model ${wrong}.`, {
        fields: [{ path: "downgrade_model", message: wrong }],
      });
    }
    await requireTenant(services, tenant);
    const budget = await save(sql, tenant, id, request);
    if (budget === null) {
      const message = `would be one more than the ${MAX_BUDGETS} budgets that a tenant may have`;
      throw new AppError("invalid", `This budget ${message}.`, { fields: [{ path: "id", message }] });
    }
    await wakeBudgetWaits(services);
    return c.json(budget, 200);
  });
};

/** Why the cheaper model cannot be the one that calls use at the limit; null: it can. */
async function downgradeError(
  sql: Sql,
  { at_limit, downgrade_model }: BudgetRequest,
): Promise<string | null> {
  if (at_limit !== "downgrade")
    return downgrade_model === null ? null : "is read together with at_limit downgrade only";
  if (downgrade_model === null) return "is required with at_limit downgrade: name the cheaper model";
  return modelErrorText(downgrade_model, true, replacedPrices(await readModelPrices(sql)));
}
