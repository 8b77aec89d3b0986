import type { MoneyRules } from "../../shared/contracts/definition/index.ts";
import { replacedPrices } from "../../shared/contracts/model-price.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import { hasBudgetFor } from "../../shared/store/money/budget-rows.ts";
import { readModelPrices } from "../../shared/store/money/model-prices.ts";
import type { Sql } from "../../shared/store/sql.ts";

/**
 * The prices and the budget by which the save of an orchestration is checked. Budgets of end users, and budgets of tenants that use a
 * shared orchestration, are not known here: they are checked when a run begins.
 */
export async function moneyRules(sql: Sql, owner: Owner, id: string): Promise<MoneyRules> {
  const [prices, hasBudget] = await Promise.all([
    readModelPrices(sql),
    owner === SHARED ? false : hasBudgetFor(sql, owner, id),
  ]);
  return { replaced: replacedPrices(prices), hasBudget };
}
