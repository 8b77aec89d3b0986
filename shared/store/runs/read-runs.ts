import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { RunId, TenantId } from "../../contracts/ids.ts";
import { RunError, RunStatus } from "../../contracts/run.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

const ms = z.number().nullable();

/** A run as the API shows it. Times in milliseconds since 1970, money in micro-dollars. */
export const RunRow = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  orchestration_id: z.string(),
  definition_version: z.number(),
  status: RunStatus,
  attempt: z.number(),
  owner: z.string().nullable(),
  worker_id: z.string().nullable(),
  event_seq: z.number(),
  /** The path of the step that the last entry is about. */
  current_step_id: z.string().nullable(),
  step_count: z.number(),
  tokens: z.number(),
  cost_micro_usd: z.number(),
  correlation_id: z.string(),
  session_id: z.string().nullable(),
  singleton_key: z.string().nullable(),
  /** Another run has its singleton key: the run is not started before that one has ended. */
  waits_for_key: z.boolean(),
  /** Its first start was delayed by its request and has not come yet. */
  delayed: z.boolean(),
  triggered_by: z.string(),
  error: jsonText(RunError).nullable(),
  metadata: z.string(),
  queued_at_ms: z.number(),
  started_at_ms: ms,
  ended_at_ms: ms,
  wake_at_ms: ms,
  /** Time to its wake-up: negative when that has passed, null when the run has ended. */
  due_in_ms: z.number().nullable(),
  cancel_requested: z.boolean(),
  /** Tokens and cost of some of its model calls are estimated, because the provider did not report them. */
  usage_estimated: z.boolean(),
  parent_run_id: RunId.nullable(),
});
export type RunRow = z.infer<typeof RunRow>;

/**
 * A run that was read by its id. `waits`: a question, a timer or a wait for a budget of it is open. A list of runs does not
 * say whether they have started others: it reads one index alone.
 */
const FoundRun = RunRow.extend({ waits: z.boolean(), has_children: z.boolean() });
export type FoundRun = z.infer<typeof FoundRun>;

/**
 * One run of a tenant; null when that tenant has no such run. Each of its look-ups in other rows costs 9 us, half of it
 * before it is executed; a run without an attempt needs none of them.
 * @param tenant null: any tenant, for a platform key
 */
export async function readRun(sql: Sql, tenant: TenantId | null, run: RunId): Promise<FoundRun | null> {
  const [row] = await sql`
    select ${runColumns(sql)},
      attempt > 0 and ended_at is null and exists (
        select from waits w where w.run_id = runs.run_id and w.kind in ('human', 'timer', 'budget') and w.answered_at is null) as waits,
      attempt > 0 and exists (select from runs c where c.parent_run_id = runs.run_id) as has_children
    from runs
    where run_id = ${run} and (${tenant}::text is null or tenant_id = ${tenant})`;
  return row ? FoundRun.parse(row) : null;
}

/** The columns of a RunRow. `date_part` returns the same numbers as `extract`, without decimal arithmetic: 0.2 us instead of 0.7. */
export function runColumns(sql: Sql) {
  return sql`run_id, tenant_id, orchestration_id, definition_version, status, attempt, owner, worker_id, event_seq,
      current_step_id, step_count, tokens::float8 as tokens, cost_micro_usd::float8 as cost_micro_usd,
      correlation_id, session_id, triggered_by, error, metadata, singleton_key,
      singleton_key is not null and status = 'queued' and wake_at > now() + interval '50 years' as waits_for_key,
      attempt = 0 and starts_at is not null as delayed,
      date_part('epoch', queued_at) * 1000 as queued_at_ms,
      date_part('epoch', started_at) * 1000 as started_at_ms,
      date_part('epoch', ended_at) * 1000 as ended_at_ms,
      date_part('epoch', wake_at) * 1000 as wake_at_ms,
      date_part('epoch', wake_at - now()) * 1000 as due_in_ms,
      cancel_requested_at is not null as cancel_requested,
      usage_estimated, parent_run_id`;
}

/** A run that another one has started. */
const ChildRow = z.object({
  run_id: RunId,
  orchestration_id: z.string(),
  status: RunStatus,
  /** The path of the parent's step. */
  step_path: z.string(),
  /** Null: the parent does not wait for it. */
  wait_id: z.string().nullable(),
  queued_at_ms: z.number(),
});
export type ChildRow = z.infer<typeof ChildRow>;

/**
 * The children of a run, the oldest first: MAX_CHILDREN at most. It does not check the tenant: the caller has read the run for its
 * principal before.
 */
export async function listChildren(sql: Sql, parent: RunId): Promise<ChildRow[]> {
  const rows = await sql`
    select run_id, orchestration_id, status, coalesce(parent_step_path, '') as step_path, parent_wait_id as wait_id,
      extract(epoch from queued_at)::float8 * 1000 as queued_at_ms
    from runs where parent_run_id = ${parent} order by queued_at, run_id`;
  return rows.map((row) => ChildRow.parse(row));
}

/** The status of runs and the number of their last committed event: what viewers compare their position with. */
export async function readPositions(
  sql: Sql,
  runs: readonly RunId[],
): Promise<Map<RunId, { event_seq: number; status: RunStatus }>> {
  const rows = await sql<{ run_id: RunId; event_seq: number; status: RunStatus }[]>`
    select run_id, event_seq, status from runs where run_id = any(${pgArray(runs)}::text[])`;
  return new Map(rows.map(({ run_id, ...position }) => [run_id, position]));
}

/** The fields of a run that the edge reads before it streams the run's events. */
const RunToWatch = RunRow.pick({
  run_id: true,
  tenant_id: true,
  status: true,
  event_seq: true,
  ended_at_ms: true,
});
export type RunToWatch = z.infer<typeof RunToWatch>;

/**
 * Those of the runs that the tenant has, in one query, without the texts that clients wrote.
 * @param tenant null: any tenant
 */
export async function readRunsToWatch(
  sql: Sql,
  tenant: TenantId | null,
  runs: readonly RunId[],
): Promise<RunToWatch[]> {
  const rows = await sql`
    select run_id, tenant_id, status, event_seq, extract(epoch from ended_at)::float8 * 1000 as ended_at_ms
    from runs
    where run_id = any(${pgArray(runs)}::text[]) and (${tenant}::text is null or tenant_id = ${tenant})`;
  return rows.map((row) => RunToWatch.parse(row));
}
