import { Budget, EACH_USER } from "../../contracts/budget.ts";
import type { BudgetRequest } from "../../contracts/budget.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The most budgets of one tenant: each reservation reads those of its run by their scopes. */
export const MAX_BUDGETS = 1_000;
/** The prefix of the scope and of the id of the budget that a run under a limit shares with the runs below it. No client sees such a budget. */
export const FAMILY = "run:";

/** A condition: a client has saved the budget. It is neither a user's, made from a template, nor a family's. */
function isWritten(sql: Sql) {
  return sql`template_id is null and scope not like ${`${FAMILY}%`}`;
}

/**
 * Creates or replaces a budget. What is spent stays while scope and period do; else it begins at 0, as for a new
 * budget, and the calls of before do not count. Null: the tenant has MAX_BUDGETS others.
 */
export async function saveBudget(
  sql: Sql,
  tenant: TenantId,
  id: string,
  { scope, period, limit_usd, at_limit, downgrade_model }: BudgetRequest,
): Promise<Budget | null> {
  const isOfEachUser = scope === EACH_USER;
  const [saved] = await sql`
    with begun_anew as materialized (
      select budget_id from budgets where tenant_id = ${tenant} and (
        budget_id = ${id} and (scope <> ${scope} or period <> ${period})
        or template_id = ${id} and (period <> ${period} or not ${isOfEachUser}::boolean))
    ), other as (
      delete from budgets where tenant_id = ${tenant} and template_id = ${id} and budget_id in (select budget_id from begun_anew)
    ), other_calls as (
      delete from budget_calls where tenant_id = ${tenant} and budget_id in (select budget_id from begun_anew)
    ), same as (
      update budgets set limit_micro_usd = round(${limit_usd}::numeric * 1000000), at_limit = ${at_limit},
        downgrade_model = ${downgrade_model}, updated_at = now()
      where tenant_id = ${tenant} and template_id = ${id} and period = ${period} and ${isOfEachUser}::boolean
    )
    insert into budgets as b (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, downgrade_model, period_start)
    select ${tenant}, ${id}, ${scope}, ${period}, round(${limit_usd}::numeric * 1000000), ${at_limit}, ${downgrade_model},
      budget_period_start(${period})
    where (
      select count(*) from budgets where tenant_id = ${tenant} and budget_id <> ${id} and ${isWritten(sql)}) < ${MAX_BUDGETS}
    on conflict (tenant_id, budget_id) do update set
      scope = excluded.scope, period = excluded.period, limit_micro_usd = excluded.limit_micro_usd,
      at_limit = excluded.at_limit, downgrade_model = excluded.downgrade_model, version = b.version + 1, updated_at = now(),
      period_start = case when ${isSameBudget(sql)} then b.period_start else excluded.period_start end,
      spent_micro_usd = case when ${isSameBudget(sql)} then b.spent_micro_usd else 0 end
    returning budget_id`;
  if (!saved) return null;
  const [row] = await readBudgets(sql, { tenant, limit: 1, id });
  return row ?? null;
}

function isSameBudget(sql: Sql) {
  return sql`b.scope = excluded.scope and b.period = excluded.period`;
}

/** Deletes a budget, with its reservations. @returns false when the tenant has no such budget */
export async function deleteBudget(sql: Sql, tenant: TenantId, id: string): Promise<boolean> {
  const rows = await sql`
    with gone as (
      delete from budgets where tenant_id = ${tenant} and (budget_id = ${id} or template_id = ${id})
      returning tenant_id, budget_id
    ), calls as (
      delete from budget_calls c using gone g where c.tenant_id = g.tenant_id and c.budget_id = g.budget_id
    )
    select from gone`;
  return rows.length > 0;
}

/**
 * A page of budgets with their current periods, by tenant and id.
 * @param tenant null: of all tenants, for a platform key
 * @param after the budget that the page begins after; null: from the start
 * @param id only the budget of this id
 */
export async function readBudgets(
  sql: Sql,
  {
    tenant,
    after = null,
    limit,
    id = null,
  }: {
    tenant: TenantId | null;
    after?: Pick<Budget, "id" | "tenant_id"> | null;
    limit: number;
    id?: string | null;
  },
): Promise<Budget[]> {
  const rows = await sql`
    select b.budget_id as id, b.template_id, b.tenant_id, b.scope, b.period, b.limit_micro_usd::float8 as limit, b.at_limit, b.downgrade_model,
      (case when b.period_start = p.starts then b.spent_micro_usd else 0 end + c.charged)::float8 as spent,
      c.reserved::float8 as reserved, b.updated_at,
      case b.period when 'total' then null
        else (p.starts at time zone 'UTC' + ('1 ' || b.period)::interval) at time zone 'UTC' end as resets_at
    from (
      -- The page first: what is spent is added up for its budgets alone.
      select * from budgets
      where ${tenant === null ? sql`true` : sql`tenant_id = ${tenant}`} and ${id === null ? sql`true` : sql`budget_id = ${id}`}
        and scope not like ${`${FAMILY}%`} and (tenant_id, budget_id) > (${after?.tenant_id ?? ""}, ${after?.id ?? ""})
      order by tenant_id, budget_id limit ${limit}
    ) b
    cross join lateral (select budget_period_start(b.period) as starts) p
    cross join lateral (
      select coalesce(sum(micro_usd) filter (where charged), 0) as charged,
        coalesce(sum(micro_usd) filter (where not charged and is_call_open(run_id, attempt)), 0) as reserved
      from budget_calls c
      where c.tenant_id = b.tenant_id and c.budget_id = b.budget_id and c.period_start = p.starts
    ) c
    order by b.tenant_id, b.budget_id`;
  return rows.map(({ limit: limitMicroUsd, spent, reserved, resets_at, updated_at, ...row }) =>
    Budget.parse({
      ...row,
      limit_usd: limitMicroUsd / 1e6,
      spent_usd: spent / 1e6,
      reserved_usd: reserved / 1e6,
      remaining_usd: Math.max(0, limitMicroUsd - spent - reserved) / 1e6,
      resets_at: resets_at?.toISOString() ?? null,
      updated_at: updated_at.toISOString(),
    }),
  );
}

/** Whether a budget of the tenant applies to all runs of an orchestration. */
export async function hasBudgetFor(sql: Sql, tenant: TenantId, orchestration: string): Promise<boolean> {
  const [row] = await sql<{ has: boolean }[]>`select has_budget(${tenant}, ${orchestration}, null) as has`;
  return row?.has ?? false;
}
