import { z } from "zod";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";
import { signalRun } from "../runs/family.ts";

/** The most runs that one call wakes. */
const BATCH = 1_000;

/** A run that does not wait for its budget any more: what the queue needs to enqueue it. */
export const WokenRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: z.enum(["queued", "running"]),
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
});
export type WokenRun = z.infer<typeof WokenRun>;

/**
 * Wakes the runs that wait for a budget which has changed since it refused them, or does not exist any more: they try their
 * call again. The wait names the version of the budget, so that a change and a park at the same moment are not
 * missed: whichever is committed last, the next call finds it.
 */
export async function wakeBudgetWaits(sql: Sql): Promise<WokenRun[]> {
  const rows = await sql`
    with changed as (
      select w.run_id, w.wait_id
      from waits w join runs r using (run_id)
      cross join lateral (select (case when w.kind = 'budget' then w.fields end)::json as for_budget) f
      left join budgets b on b.tenant_id = r.tenant_id and b.budget_id = for_budget ->> 'budget_id'
      left join budgets t on t.tenant_id = b.tenant_id and t.budget_id = b.template_id
      where w.kind = 'budget' and w.answered_at is null and r.ended_at is null
        and coalesce(t.version, b.version) is distinct from (for_budget ->> 'version')::bigint
      order by w.run_id limit ${BATCH}
    ), locked as (
      select run_id from runs where run_id in (select run_id from changed) and ended_at is null
      order by run_id collate "C" for update
    ), answered as (
      update waits w set answered_at = now(), answered_by = 'budget'
      from changed c join locked l using (run_id)
      where w.run_id = c.run_id and w.wait_id = c.wait_id and w.answered_at is null
      returning w.run_id
    )
    update runs r set ${signalRun(sql)} from (select distinct run_id from answered) a where r.run_id = a.run_id
    returning r.run_id, r.tenant_id, r.status, r.lane, r.priority,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms`;
  return rows.map((row) => WokenRun.parse(row));
}
