import type { Sql } from "../sql.ts";

/** The most budgets of either kind that one call deletes. */
const BATCH = 10_000;

/**
 * Deletes budgets of end users: those of a past day or month without a call, because the next call makes them again, and those that a
 * call made while their template was deleted.
 *
 * Cost: O(templates) and what is due, not O(end users). Compared with its template one by one, each of a million budgets that stay was read.
 * @returns true when more of them may be left
 */
export async function deleteUserBudgets(sql: Sql): Promise<boolean> {
  const { count } = await sql`
    with recursive templates as (
      (select tenant_id, template_id from budgets where template_id is not null order by tenant_id, template_id limit 1)
      union all
      select next.* from templates p cross join lateral (
        select b.tenant_id, b.template_id from budgets b
        where b.template_id is not null and (b.tenant_id, b.template_id) > (p.tenant_id, p.template_id)
        order by b.tenant_id, b.template_id limit 1) next
    ), doomed as (
      (select u.tenant_id, u.budget_id from budgets u
      where u.template_id is not null
        and (u.period = 'day' and u.period_start < budget_period_start('day')
          or u.period = 'month' and u.period_start < budget_period_start('month'))
        and not exists (select from budget_calls c where c.tenant_id = u.tenant_id and c.budget_id = u.budget_id)
      limit ${BATCH})
      union
      (select o.tenant_id, o.budget_id from templates g cross join lateral (
        select orphan.tenant_id, orphan.budget_id from budgets orphan where orphan.tenant_id = g.tenant_id and orphan.template_id = g.template_id limit ${BATCH}) o
      where not exists (
        select from budgets t where t.tenant_id = g.tenant_id and t.budget_id = g.template_id and t.scope = 'user:*')
      limit ${BATCH})
    )
    delete from budgets b using doomed d where b.tenant_id = d.tenant_id and b.budget_id = d.budget_id`;
  return count >= BATCH;
}
