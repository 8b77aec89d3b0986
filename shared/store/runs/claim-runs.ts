import { z } from "zod";
import { RunId, SessionId, TenantId, workerOf } from "../../contracts/ids.ts";
import { Lane } from "../../contracts/run.ts";
import { CLAIM_DEADLINE_MS, SILENCE_MARGIN_MS } from "../../timing.ts";
import { boundedRows, pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { isNextInSession } from "../chat/turn-order.ts";

/** A longer input is not returned by a claim, which may be of many runs: `readInput` reads it for one of them. */
const INLINE_INPUT_BYTES = 64 * 1024;

/**
 * A run that this worker has claimed. It has nothing that may be large: the worker reads the journal in pages, and only when it executes
 * the run.
 */
export const ClaimedRun = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  orchestration_id: z.string(),
  definition_tenant: z.string(),
  definition_version: z.number(),
  attempt: z.number(),
  event_seq: z.number(),
  signals: z.number(),
  crash_count: z.number(),
  /** This claim counted a crash: its owner was silent. An edge of an earlier version does not send it. */
  takeover: z.boolean().default(false),
  cancel: z.boolean(),
  lane: Lane,
  priority: z.number(),
  correlation_id: z.string(),
  /** The session that it is a turn of; absent or null: it is no chat turn. */
  chat_session: SessionId.nullish(),
  /** JSON text of RunInput; null: it is long, and `readInput` reads it. */
  input: z.string().nullable(),
  queued_at_ms: z.number(),
  /** Time since its first claim, less the time that it was paused. */
  running_for_ms: z.number(),
  cost_micro_usd: z.number(),
  /** The bytes of its journal: see size-limits.ts. */
  journal_bytes: z.number(),
  /** Of a child: what its parent had left. An edge of an earlier version does not send them. */
  cost_limit_micro_usd: z.number().nullish(),
  time_limit_ms: z.number().nullish(),
  /** A budget applies to the run. An edge of a version without budgets does not send it. */
  has_budget: z.boolean().default(false),
  /** The context in which the run was started. Absent or null: it has none. */
  traceparent: z.string().nullish(),
});
export type ClaimedRun = z.infer<typeof ClaimedRun>;

/**
 * Makes `owner` the owner of each of `runs` that is due (or will be within 2 s), or whose owner is silent. One
 * statement claims the batch.
 *
 * `attempt` is increased here and nowhere else. A run that is missing from the result was not claimed:
 * `readRunSnapshots` returns its state. A Postgres that has just started has received no beats, so silence is counted from its
 * start at the earliest.
 *
 * Nothing is claimed when the owner itself is silent, or was silent more often than it knows: other workers may have claimed
 * directly meanwhile, in slots that the queue had given to this owner before.
 *
 * A chat turn is not claimed before all earlier turns of its session have ended.
 * @param silences how often the owner was silent when it synchronized with the queue; absent: it does not know
 */
export function claimRuns(
  sql: Sql,
  owner: string,
  runs: readonly RunId[],
  silences?: number,
): Promise<ClaimedRun[]> {
  const listed = sql`select unnest(${pgArray(runs)}::text[])`;
  if (silences === undefined) return claimFrom(sql, owner, listed);
  return claimFrom(
    sql,
    owner,
    sql`${listed} where exists (
      select from workers w where w.incarnation = ${owner} and w.silences = ${silences}
        and w.beat_at + w.silent_after >= clock_timestamp() + ${SILENCE_MARGIN_MS} * interval '1 millisecond')`,
  );
}

/**
 * A direct claim: up to `slots` due runs of these lanes from Postgres alone, while Redis is unreachable. One claimer at
 * a time counts the tenants' limits. Tenants take turns, and none takes more of the owner's slots than its share.
 */
export function claimDirectly(
  sql: Sql,
  owner: string,
  slots: number,
  lanes: readonly Lane[],
): Promise<ClaimedRun[]> {
  return claimFrom(sql, owner, sql`select claimable_runs(${owner}, ${slots}, ${pgArray(lanes)}::text[])`);
}

async function claimFrom(sql: Sql, owner: string, runs: PendingQuery<Row[]>): Promise<ClaimedRun[]> {
  return sql<ClaimedRun[]>`
    with claimable as (
      select r.run_id, r.status = 'running' as takeover
      from ${boundedRows(sql, runs)} a(run_id) join runs r using (run_id)
      where case r.status
        when 'running' then not exists (
          select from workers w where w.incarnation = r.owner and silent_at(w) >= now())
        else r.ended_at is null and r.wake_at <= now() + interval '2 seconds' and ${isNextInSession(sql)}
      end
      for update of r skip locked
    )
    update runs r set
      status = 'running', owner = ${owner}, worker_id = ${workerOf(owner)}, attempt = r.attempt + 1,
      deadline_at = now() + ${CLAIM_DEADLINE_MS} * interval '1 millisecond',
      started_at = coalesce(r.started_at, now()),
      paused_for = r.paused_for + coalesce(now() - r.paused_at, '0'), paused_at = null,
      crash_count = r.crash_count + c.takeover::int
    from claimable c where r.run_id = c.run_id
    returning r.run_id, r.tenant_id, r.orchestration_id, r.definition_tenant, r.definition_version, r.attempt,
      r.event_seq, r.signals, r.crash_count, c.takeover, r.lane, r.priority,
      -- A parent that ended at the moment in which it started this run has not seen it. A run that has begun was seen, and one that
      -- a client retries goes on without its parent.
      r.cancel_requested_at is not null or r.parent_wait_id is not null and r.event_seq = 0 and exists (
        select from runs p where p.run_id = r.parent_run_id and p.ended_at is not null) as cancel,
      r.correlation_id, r.chat_session, case when octet_length(r.input) <= ${INLINE_INPUT_BYTES} then r.input end as input, round(date_part('epoch', date_trunc('milliseconds', r.queued_at)) * 1000) as queued_at_ms,
      date_part('epoch', now() - r.started_at - r.paused_for) * 1000 as running_for_ms,
      r.cost_micro_usd::float8 as cost_micro_usd, r.journal_bytes::float8 as journal_bytes,
      r.cost_limit_micro_usd::float8 as cost_limit_micro_usd, r.time_limit_ms::float8 as time_limit_ms,
      -- Without any budget the function is not called: it takes an eighth of the time of a claim.
      exists (select from budgets)
        and reserves_calls(r.tenant_id, r.run_id, r.orchestration_id, r.end_user, r.cost_limit_micro_usd) as has_budget,
      r.traceparent`;
}

/** The input of a run: JSON text of RunInput; null when there is no such run. */
export async function readInput(sql: Sql, run: RunId): Promise<string | null> {
  const [row] = await sql<{ input: string }[]>`select input from runs where run_id = ${run}`;
  return row?.input ?? null;
}

/** A run that a worker hands back. `delay_ms`: it is due again after this time; absent: at once. */
export const RunToHandBack = z.object({
  run_id: RunId,
  attempt: z.number().int(),
  delay_ms: z.number().nonnegative().exactOptional(),
});
export type RunToHandBack = z.infer<typeof RunToHandBack>;

/**
 * Queues runs again that `owner` owns under these attempts and does not execute (any more). It does not count as a
 * crash.
 * @returns the runs that were handed back
 */
export async function handBack(sql: Sql, owner: string, runs: readonly RunToHandBack[]): Promise<RunId[]> {
  const rows = await sql<{ run_id: RunId }[]>`
    update runs r set status = 'queued', owner = null, wake_at = now() + owned.delay_ms * interval '1 millisecond'
    from unnest(${pgArray(runs.map((r) => r.run_id))}::text[], ${pgArray(runs.map((r) => r.attempt))}::int[],
      ${pgArray(runs.map((r) => r.delay_ms ?? 0))}::float8[]) as owned(run_id, attempt, delay_ms)
    where r.run_id = owned.run_id and r.attempt = owned.attempt and r.owner = ${owner} and r.status = 'running'
    returning r.run_id`;
  return rows.map((row) => row.run_id);
}
