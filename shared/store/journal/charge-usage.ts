import type { RunId } from "../../contracts/ids.ts";
import type { Usage } from "../../contracts/journal-entry.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

type Charging = readonly { run_id: RunId; usage: readonly Usage[] }[];

/** The CTE `charges`: one row for each model call of the entries. For a flush that charges nothing, as most do, there is no CTE. */
export function usageRows(sql: Sql, entries: Charging) {
  const rows = entries.flatMap(({ run_id, usage }) => usage.map((call) => ({ run_id, ...call })));
  if (rows.length === 0) return sql``;
  return sql`, charges as (
      select * from unnest(
        ${pgArray(rows.map((u) => u.run_id))}::text[], ${pgArray(rows.map((u) => u.call))}::text[],
        ${pgArray(rows.map((u) => u.provider))}::text[], ${pgArray(rows.map((u) => u.model))}::text[],
        ${pgArray(rows.map((u) => u.input_tokens))}::int[], ${pgArray(rows.map((u) => u.output_tokens))}::int[],
        ${pgArray(rows.map((u) => u.cost_micro_usd))}::bigint[],
        ${pgArray(rows.map((u) => (u.wasted ? "wasted" : "charged")))}::text[],
        ${pgArray(rows.map((u) => (u.estimated ? 1 : 0)))}::int[],
        ${pgArray(rows.map((u) => (u.cached ? 1 : 0)))}::int[],
        ${pgArray(rows.map((u) => u.reserved ?? null))}::text[]
      ) as u(run_id, call, provider, model, input_tokens, output_tokens, cost, kind, estimated, cached, reserved)
    )`;
}

/**
 * The CTEs that write the rows of `charges` whose entries were committed, and make reservations in budgets charges. Each
 * reservation is a row of the run's own, so no flush waits for a budget.
 */
export function chargeUsage(sql: Sql, entries: Charging) {
  if (entries.every(({ usage }) => usage.length === 0)) return sql``;
  return sql`, charged as (
      insert into usage (
        run_id, seq, tenant_id, call, kind, provider, model, input_tokens, output_tokens, cost_micro_usd, estimated,
        cached)
      select run_id, m.event_seq, m.tenant_id, u.call, u.kind, u.provider, u.model, u.input_tokens, u.output_tokens, u.cost,
        u.estimated = 1, u.cached = 1
      from moved m join charges u using (run_id)
    )${entries.some(({ usage }) => usage.some(isReserved)) ? chargeReservations(sql) : sql``}`;
}

function isReserved({ reserved }: Usage): boolean {
  return reserved !== undefined;
}

/** The CTE that makes the reservations of charged calls charges. */
function chargeReservations(sql: Sql) {
  return sql`, charged_reservations as (
      update budget_calls b set charged = true, micro_usd = u.cost
      from moved m join charges u using (run_id)
      where b.run_id = u.run_id and b.call = u.reserved and not b.charged
    )`;
}
