import type { RunId, TenantId } from "../../contracts/ids.ts";
import type { NewRun } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import { insertQuestions, pinnedTurns, takenTurns, withTurn } from "../chat/accept-turns.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/**
 * Which store has checked that a tenant's queue has room. With `postgres`, for when Redis is unreachable, the statement
 * checks it itself, under a lock on each tenant's row. Accepts of one tenant then wait for each other.
 */
export type QuotaCheckedBy = "queue" | "postgres";

/**
 * For each accepted run the time at which it was queued, in milliseconds since 1970, the time until its wake-up, and its
 * version. A run that waits for its singleton key has a wake-up in a hundred years: the end of the holder brings it forward.
 * A chat turn that waits for another one has its latest wake-up.
 */
export type AcceptedRuns = Map<RunId, Omit<AcceptedRow, "run_id">>;
type AcceptedRow = { run_id: RunId; queued_at_ms: number; definition_version: number; delay_ms: number };

/**
 * Accepts admitted runs: commits them all in one statement, each pinned to the newest version of its definition (the
 * tenant's own, else the shared one).
 *
 * A run that is missing from the result was not accepted, for one of these reasons:
 * - its definition does not exist;
 * - its idempotency key is taken (`findIdempotent` returns the run that has it);
 * - another run has its singleton key, and its policy is `skip` (`findSingletonHolder`);
 * - its tenant's queue is full;
 * - it is a chat turn that its session did not take (`whyNotTaken`);
 * - the condition of the call does not hold.
 *
 * @param runs at most one for each idempotency key, and all with a singleton key have the same one: a statement that locks
 *   several keys could wait for a flush in a circle
 * @param condition an SQL expression without which none is accepted; null: there is none
 */
export async function acceptRuns(
  sql: Sql,
  runs: readonly NewRun[],
  quotaCheckedBy: QuotaCheckedBy = "queue",
  condition: PendingQuery<Row[]> | null = null,
): Promise<AcceptedRuns> {
  const hasTurns = runs.some(({ turn }) => turn !== undefined);
  const rows = await sql<AcceptedRow[]>`
    with submitted as (
      select * from json_to_recordset(${JSON.stringify(runs.map(columnsOf))}::text::json) as r(
        run_id text, tenant_id text, orchestration_id text, lane text, priority int, correlation_id text,
        session_id text, triggered_by text, input text, metadata text, end_user text, delay_ms float8, starts_at timestamptz,
        singleton_key text, singleton_policy text, batch_id text, batch_index int,
        idempotency_key text, request_hash text, webhook_url text, webhook_secret text,
        chat_session text, turn_tenant text, turn_version int, rejects_busy boolean, interrupts boolean,
        traceparent text)
      ${condition === null ? sql`` : sql`where ${condition}`}
    ), admitted as (
      ${quotaCheckedBy === "postgres" ? withinQuota(sql) : sql`select * from submitted`}
    ), ${hasTurns ? takenTurns(sql) : sql``} pinned as (
      (select distinct on (a.run_id) a.run_id, o.tenant_id as definition_tenant, o.version, a.delay_ms
      from admitted a
      join orchestrations o
        on o.id = a.orchestration_id and o.tenant_id in (a.tenant_id, '') and o.deleted_at is null
      where a.chat_session is null
      order by a.run_id, o.tenant_id desc)
      ${hasTurns ? pinnedTurns(sql) : sql``}
    ), keyed as (
      -- The key of an item outlives that of its batch: a request that joins the batch in its last moment finds the item's run.
      insert into idempotency_keys as k (tenant_id, key, request_hash, run_id, created_at)
      select a.tenant_id, a.idempotency_key, a.request_hash, a.run_id,
        case when a.batch_id is null then now() else now() + interval '1 hour' end
      from admitted a join pinned p using (run_id)
      where a.idempotency_key is not null
      on conflict (tenant_id, key) do update
        set request_hash = excluded.request_hash, run_id = excluded.run_id, created_at = excluded.created_at
        where k.created_at < now() - interval '24 hours'
      returning k.run_id
    ), accepted as (
    insert into runs (
      run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at, lane, priority,
      correlation_id, session_id, triggered_by, input, metadata, end_user, webhook_url, webhook_secret,
      chat_session, interrupts, starts_at, singleton_key, singleton_policy, batch_id, batch_index, traceparent)
    select a.run_id, a.tenant_id, a.orchestration_id, p.definition_tenant, p.version,
      greatest(now() + p.delay_ms * interval '1 millisecond', a.starts_at), a.lane, a.priority,
      a.correlation_id, a.session_id, a.triggered_by, a.input, a.metadata, a.end_user, a.webhook_url, a.webhook_secret,
      a.chat_session, a.interrupts,
      case when a.delay_ms > 0 or a.starts_at is not null
        then greatest(now() + a.delay_ms * interval '1 millisecond', a.starts_at) end,
      a.singleton_key, a.singleton_policy, a.batch_id, a.batch_index, a.traceparent
    from admitted a join pinned p using (run_id)
    where a.idempotency_key is null or exists (select from keyed k where k.run_id = a.run_id)
    returning ${acceptedColumns(sql)}, chat_session, input
    )${hasTurns ? insertQuestions(sql) : sql``}
    select run_id, definition_version, queued_at_ms, delay_ms from accepted`;
  return new Map(rows.map(({ run_id, ...accepted }) => [run_id, accepted]));
}

/** A run as the statement takes it: without nested values. */
function columnsOf({ singleton, batch, ...run }: NewRun) {
  return {
    ...withTurn(run),
    singleton_key: singleton?.key,
    singleton_policy: singleton?.policy,
    batch_id: batch?.id,
    batch_index: batch?.index,
  };
}

function acceptedColumns(sql: Sql) {
  return sql`run_id, definition_version, round(date_part('epoch', date_trunc('milliseconds', queued_at)) * 1000) as queued_at_ms,
    greatest(0, date_part('epoch', coalesce(wake_at, now()) - now())) * 1000 as delay_ms`;
}

/** Those of the runs that are committed, as `acceptRuns` returns them: for a caller that did not get its result. */
export async function findAccepted(sql: Sql, runs: readonly RunId[]): Promise<AcceptedRuns> {
  const rows = await sql<AcceptedRow[]>`
    select ${acceptedColumns(sql)} from runs where run_id = any(${pgArray(runs)}::text[])`;
  return new Map(rows.map(({ run_id, ...accepted }) => [run_id, accepted]));
}

/** As many of each tenant's submitted runs as its queue has room for, in the order of their ids. */
function withinQuota(sql: Sql) {
  return sql`
    select s.* from (
      select *, row_number() over (partition by tenant_id order by run_id) as place from submitted
    ) s
    join (
      -- All statements lock tenants in the same order, so that two batches never deadlock.
      select tenant_id, queue_room(tenant_id) as room from (select distinct tenant_id from submitted order by 1) o
    ) t using (tenant_id)
    where s.place <= t.room`;
}

/** The run that a tenant's idempotency key stands for, with the hash of its request. Null: the key is free. A key is valid for 24 hours. */
export async function findIdempotent(
  sql: Sql,
  tenant: TenantId,
  key: string,
): Promise<IdempotentAnswer | null> {
  const [row] = await sql<IdempotentAnswer[]>`
    select run_id, request_hash, skipped,
      not skipped and not exists (select from runs r where r.run_id = k.run_id) as unanswered
    from idempotency_keys k
    where tenant_id = ${tenant} and key = ${key} and created_at >= now() - interval '24 hours'`;
  return row ?? null;
}

/**
 * `skipped`: the request started no run, because `run_id` had its singleton key. `unanswered`: the run `run_id` does not exist: it was
 * skipped, and the answer is not recorded yet. Both are read by one statement, so an answer that is recorded meanwhile is not missed.
 */
export type IdempotentAnswer = { run_id: RunId; request_hash: string; skipped: boolean; unanswered: boolean };
