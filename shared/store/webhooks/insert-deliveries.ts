import type { RunId } from "../../contracts/ids.ts";
import { MAX_ENDPOINTS } from "../../contracts/webhook-endpoint.ts";
import { pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The columns that a delivery copies from its run's row `r`: for the `returning` of the statement that changes the run. */
export function deliverySnapshot(sql: Sql) {
  return sql`r.status, r.tenant_id, r.orchestration_id, r.tokens, r.cost_micro_usd, r.started_at, r.ended_at,
        r.error, r.webhook_url, r.webhook_secret, r.chat_session, r.parent_run_id`;
}

/**
 * The part of a statement that inserts the deliveries of each run that the statement ends, or parks for a human: one for the
 * run's own webhook, and one for each enabled endpoint of its tenant that asks for this event. They exist if and only if the
 * entry does.
 *
 * A child has no webhook of its own: its question goes to the webhook of the run at the top of its family, whose client waits for
 * the answer. That run's own end reports what the child's end means.
 * @param changed the name of the CTE that has changed runs: `run_id`, `event_seq` and `deliverySnapshot`
 * @param withQuestion those of them that wait for a human now
 */
export function insertDeliveries(
  sql: Sql,
  changed: PendingQuery<Row[]>,
  withQuestion: readonly RunId[] = [],
) {
  return sql`, deliveries as (
      insert into webhook_deliveries (delivery_id, run_id, seq, tenant_id, orchestration_id, type, endpoint_id, url, secret,
        status, tokens, cost_micro_usd, started_at, ended_at, error, root_run_id)
      select 'whd_' || substr(c.run_id, 5) || '_' || c.event_seq || coalesce('_' || t.endpoint_id, ''), c.run_id, c.event_seq,
        c.tenant_id, c.orchestration_id, 'run.' || c.report, t.endpoint_id, t.url, t.secret, c.status, c.tokens,
        c.cost_micro_usd, c.started_at, c.ended_at, c.error, root.run_id
      from (
        select *, case when ended_at is null then 'waiting' else status end as report from ${changed}
        where ended_at is not null or run_id = any(${pgArray(withQuestion)}::text[])
      ) c left join lateral (${withQuestion.length > 0 ? rootOfQuestion(sql) : noRoot(sql)}) root on true
      cross join lateral (
        select null::text as endpoint_id, coalesce(root.webhook_url, c.webhook_url) as url,
          coalesce(root.webhook_secret, c.webhook_secret) as secret
        where coalesce(root.webhook_url, c.webhook_url) is not null
        union all
        (select e.endpoint_id, e.url, e.secret from webhook_endpoints e
        where e.tenant_id = c.tenant_id and e.disabled_at is null
          and case when c.chat_session is null then 'run.' else 'chat.' end || c.report = any(e.events)
        order by e.endpoint_id limit ${MAX_ENDPOINTS})
      ) t
      returning run_id
    )`;
}

/** The run at the top of the family of `c`, if `c` is a child with a question. `offset 0`: each step up reads one row by its key. */
function rootOfQuestion(sql: Sql) {
  return sql`
        with recursive above as (
          select a.run_id, a.parent_run_id, a.webhook_url, a.webhook_secret from runs a
          where a.run_id = c.parent_run_id and c.ended_at is null
          union all
          select a.* from above b cross join lateral (
            select p.run_id, p.parent_run_id, p.webhook_url, p.webhook_secret from runs p where p.run_id = b.parent_run_id offset 0) a
        ) select run_id, webhook_url, webhook_secret from above where parent_run_id is null`;
}

function noRoot(sql: Sql) {
  return sql`select null::text as run_id, null::text as webhook_url, null::text as webhook_secret`;
}
