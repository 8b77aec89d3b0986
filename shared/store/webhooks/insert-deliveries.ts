import type { RunId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The columns that a delivery copies from its run's row `r`: for the `returning` of the statement that changes the run. */
export function deliverySnapshot(sql: Sql) {
  return sql`r.status, r.tenant_id, r.orchestration_id, r.tokens, r.cost_micro_usd, r.started_at, r.ended_at,
        r.error, r.webhook_url, r.webhook_secret`;
}

/**
 * The part of a statement that inserts a delivery for each run with a webhook that the statement ends, or parks for a
 * human: the delivery exists if and only if the entry does.
 * @param changed the name of the CTE that has changed runs: `run_id`, `event_seq` and `deliverySnapshot`
 * @param withQuestion those of them that wait for a human now
 */
export function insertDeliveries(
  sql: Sql,
  changed: PendingQuery<Row[]>,
  withQuestion: readonly RunId[] = [],
) {
  return sql`, deliveries as (
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, url, secret, status,
        tokens, cost_micro_usd, started_at, ended_at, error)
      select 'whd_' || substr(c.run_id, 5) || '_' || c.event_seq, c.run_id, c.event_seq, c.tenant_id, c.orchestration_id,
        'run.' || case when c.ended_at is null then 'waiting' else c.status end,
        c.webhook_url, c.webhook_secret, c.status, c.tokens, c.cost_micro_usd, c.started_at, c.ended_at, c.error
      from ${changed} c
      where c.webhook_url is not null
        and (c.ended_at is not null or c.run_id = any(${pgArray(withQuestion)}::text[]))
      returning run_id
    )`;
}
