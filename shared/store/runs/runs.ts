import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { RunError, RunStatus } from "../../contracts/run.ts";
import type { NewRun } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/**
 * Commits admitted runs, each pinned to the newest version of its definition: the tenant's own, else the shared one.
 *
 * One statement for all, so one commit. A run that is not in the answer was not accepted: its definition does not
 * exist, or its idempotency key is taken (`findIdempotent` tells), or its tenant's queue is full. A batch may carry a
 * key only once.
 *
 * `quotaCheckedBy`: the store that checks that the tenants' queues have room. `postgres`: this statement does, under a
 * lock on each tenant, which costs what Redis saves; while Redis is unreachable there is no other way.
 */
export async function acceptRuns(
  sql: Sql,
  runs: readonly NewRun[],
  quotaCheckedBy: "queue" | "postgres" = "queue",
): Promise<Map<RunId, { queued_at_ms: number; definition_version: number }>> {
  const rows = await sql<{ run_id: RunId; queued_at_ms: number; definition_version: number }[]>`
    with given as (
      select * from json_to_recordset(${JSON.stringify(runs)}::text::json) as r(
        run_id text, tenant_id text, orchestration_id text, lane text, priority int, correlation_id text,
        session_id text, triggered_by text, input text, metadata text, delay_ms float8,
        idempotency_key text, request_hash text, webhook_url text, webhook_secret text)
    ), asked as (
      ${quotaCheckedBy === "postgres" ? withRoom(sql) : sql`select * from given`}
    ), pinned as (
      select distinct on (a.run_id) a.run_id, o.tenant_id as definition_tenant, o.version
      from asked a
      join orchestrations o
        on o.id = a.orchestration_id and o.tenant_id in (a.tenant_id, '') and o.deleted_at is null
      order by a.run_id, o.tenant_id desc
    ), keyed as (
      insert into idempotency_keys as k (tenant_id, key, request_hash, run_id)
      select a.tenant_id, a.idempotency_key, a.request_hash, a.run_id
      from asked a join pinned p using (run_id)
      where a.idempotency_key is not null
      on conflict (tenant_id, key) do update
        set request_hash = excluded.request_hash, run_id = excluded.run_id, created_at = now()
        where k.created_at < now() - interval '24 hours'
      returning k.run_id
    )
    insert into runs (
      run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at, lane, priority,
      correlation_id, session_id, triggered_by, input, metadata, webhook_url, webhook_secret)
    select a.run_id, a.tenant_id, a.orchestration_id, p.definition_tenant, p.version,
      now() + a.delay_ms * interval '1 millisecond', a.lane, a.priority,
      a.correlation_id, a.session_id, a.triggered_by, a.input, a.metadata, a.webhook_url, a.webhook_secret
    from asked a join pinned p using (run_id)
    where a.idempotency_key is null or exists (select from keyed k where k.run_id = a.run_id)
    returning run_id, definition_version, floor(extract(epoch from queued_at) * 1000)::float8 as queued_at_ms`;
  return new Map(rows.map(({ run_id, ...accepted }) => [run_id, accepted]));
}

/** Of each tenant's runs as many as its queue has room for. */
function withRoom(sql: Sql) {
  return sql`
    select g.* from (
      select *, row_number() over (partition by tenant_id order by run_id) as place from given
    ) g
    join (
      -- Locked in one order, so that two batches never wait for each other.
      select tenant_id, queue_room(tenant_id) as room from (select distinct tenant_id from given order by 1) o
    ) t using (tenant_id)
    where g.place <= t.room`;
}

/** The run that a live idempotency key stands for: keys live 24 hours. */
export async function findIdempotent(
  sql: Sql,
  tenant: TenantId,
  key: string,
): Promise<{ run_id: RunId; request_hash: string } | null> {
  const [row] = await sql<{ run_id: RunId; request_hash: string }[]>`
    select run_id, request_hash from idempotency_keys
    where tenant_id = ${tenant} and key = ${key} and created_at >= now() - interval '24 hours'`;
  return row ?? null;
}

const ms = z.number().nullable();

/** A run as clients are told of it. Times in milliseconds since 1970, money in micro-dollars. */
const RunRow = z.object({
  run_id: RunId,
  tenant_id: z.string(),
  orchestration_id: z.string(),
  definition_version: z.number(),
  status: RunStatus,
  attempt: z.number(),
  owner: z.string().nullable(),
  worker_id: z.string().nullable(),
  event_seq: z.number(),
  current_step_id: z.string().nullable(),
  step_count: z.number(),
  tokens: z.number(),
  cost_micro_usd: z.number(),
  correlation_id: z.string(),
  session_id: z.string().nullable(),
  triggered_by: z.string(),
  error: z
    .string()
    .nullable()
    .transform((text) => (text === null ? null : RunError.parse(JSON.parse(text)))),
  input: z.string(),
  metadata: z.string(),
  queued_at_ms: z.number(),
  started_at_ms: ms,
  ended_at_ms: ms,
  wake_at_ms: ms,
  /** To its wake-up; below zero when that has passed, null when it has ended. */
  due_in_ms: z.number().nullable(),
  cancel_requested: z.boolean(),
});
export type RunRow = z.infer<typeof RunRow>;

/** One run of a tenant; `tenant` null: of any (a platform key asks). Null when there is none, or it is another's. */
export async function readRun(sql: Sql, tenant: TenantId | null, run: RunId): Promise<RunRow | null> {
  const [row] = await sql`
    select run_id, tenant_id, orchestration_id, definition_version, status, attempt, owner, worker_id, event_seq,
      current_step_id, step_count, tokens::float8 as tokens, cost_micro_usd::float8 as cost_micro_usd,
      correlation_id, session_id, triggered_by, error, input, metadata,
      extract(epoch from queued_at)::float8 * 1000 as queued_at_ms,
      extract(epoch from started_at)::float8 * 1000 as started_at_ms,
      extract(epoch from ended_at)::float8 * 1000 as ended_at_ms,
      extract(epoch from wake_at)::float8 * 1000 as wake_at_ms,
      extract(epoch from wake_at - now())::float8 * 1000 as due_in_ms,
      cancel_requested_at is not null as cancel_requested
    from runs
    where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? RunRow.parse(row) : null;
}

/** How far runs have come, for viewers: the number of the last committed event, and the status. */
export async function readPositions(
  sql: Sql,
  runs: readonly RunId[],
): Promise<Map<RunId, { event_seq: number; status: RunStatus }>> {
  const rows = await sql<{ run_id: RunId; event_seq: number; status: RunStatus }[]>`
    select run_id, event_seq, status from runs where run_id = any(${pgArray(runs)}::text[])`;
  return new Map(rows.map(({ run_id, ...position }) => [run_id, position]));
}
