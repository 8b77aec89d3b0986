import { z } from "zod";
import { RunId, TenantId, workerOf } from "../../contracts/ids.ts";
import { StoredEntry } from "../../contracts/journal-entry.ts";
import { Lane, RunStatus } from "../../contracts/run.ts";
import { readStored } from "../journal/read-journal.ts";
import { boundedRows, pgArray } from "../sql.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** How long an owner may not have been heard of before its runs may be taken over; shorter than a lease in Redis. */
export const SILENT_SECONDS = 12;

/** How long a claim may show nothing before the run is taken for stuck. */
const CLAIM_DEADLINE_SECONDS = 60;

/** A run that this worker has claimed: all that it needs to carry it forward. */
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
  cancel: z.boolean(),
  lane: Lane,
  priority: z.number(),
  correlation_id: z.string(),
  input: z.string(),
  queued_at_ms: z.number(),
  /** Since its first pickup, without what it was paused. */
  running_for_ms: z.number(),
  cost_micro_usd: z.number(),
  journal: z.array(StoredEntry),
});
export type ClaimedRun = z.infer<typeof ClaimedRun>;

/**
 * Makes `owner` the owner of those of `runs` that are due, or whose owner is silent: one statement for the batch,
 * and one more for the journals of those that have come some way already.
 *
 * `attempt` is counted here and nowhere else. What is not in the answer was not claimed; `lookUp` tells why.
 * A Postgres that has just started has heard of nobody: that makes nobody silent.
 */
export function claimRuns(sql: Sql, owner: string, runs: readonly RunId[]): Promise<ClaimedRun[]> {
  return claimFrom(sql, owner, sql`select unnest(${pgArray(runs)}::text[])`);
}

/**
 * Claims up to `slots` due runs of these lanes without a queue: while Redis is away. The tenants' limits are counted here, by one
 * claimer at a time; between tenants they take turns.
 */
export function claimDirectly(
  sql: Sql,
  owner: string,
  slots: number,
  lanes: readonly Lane[],
): Promise<ClaimedRun[]> {
  return claimFrom(sql, owner, sql`select claimable_runs(${slots}, ${pgArray(lanes)}::text[])`);
}

async function claimFrom(sql: Sql, owner: string, runs: PendingQuery<Row[]>): Promise<ClaimedRun[]> {
  const rows = await sql<Omit<ClaimedRun, "journal">[]>`
    with wanted as (
      select r.run_id, r.status = 'running' as takeover
      from ${boundedRows(sql, runs)} a(run_id) join runs r using (run_id)
      where case r.status
        when 'running' then not exists (
          select from workers w where w.incarnation = r.owner
            and greatest(w.beat_at, pg_postmaster_start_time()) >= now() - ${SILENT_SECONDS} * interval '1 second')
        else r.ended_at is null and r.wake_at <= now() + interval '2 seconds'
      end
      for update of r skip locked
    )
    update runs r set
      status = 'running', owner = ${owner}, worker_id = ${workerOf(owner)}, attempt = r.attempt + 1,
      deadline_at = now() + ${CLAIM_DEADLINE_SECONDS} * interval '1 second',
      started_at = coalesce(r.started_at, now()),
      paused_for = r.paused_for + coalesce(now() - r.paused_at, '0'), paused_at = null,
      crash_count = r.crash_count + w.takeover::int
    from wanted w where r.run_id = w.run_id
    returning r.run_id, r.tenant_id, r.orchestration_id, r.definition_tenant, r.definition_version, r.attempt,
      r.event_seq, r.signals, r.crash_count, r.cancel_requested_at is not null as cancel, r.lane, r.priority,
      r.correlation_id, r.input, floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms,
      extract(epoch from now() - r.started_at - r.paused_for)::float8 * 1000 as running_for_ms,
      r.cost_micro_usd::float8 as cost_micro_usd`;
  const begun = rows.filter((row) => row.event_seq > 0).map((row) => row.run_id);
  const journals = begun.length > 0 ? await readStored(sql, begun) : new Map<RunId, StoredEntry[]>();
  return rows.map((row) => ({ ...row, journal: journals.get(row.run_id) ?? [] }));
}

/** What Postgres says of a run that a claim did not get. */
export const RunLook = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  status: RunStatus,
  lane: Lane,
  priority: z.number(),
  queued_at_ms: z.number(),
  owner: z.string().nullable(),
  owner_silent: z.boolean(),
  attempt: z.number(),
  signals: z.number(),
  cancel: z.boolean(),
  /** To its wake-up; below zero when that has passed. */
  due_in_ms: z.number(),
});
export type RunLook = z.infer<typeof RunLook>;

/** Reads runs as they are now. Runs that do not exist are not in the answer. */
export async function lookUp(sql: Sql, runs: readonly RunId[]): Promise<RunLook[]> {
  return sql<RunLook[]>`
    select r.run_id, r.tenant_id, r.status, r.lane, r.priority, r.owner, r.attempt, r.signals,
      floor(extract(epoch from r.queued_at) * 1000)::float8 as queued_at_ms,
      r.cancel_requested_at is not null as cancel,
      coalesce(extract(epoch from r.wake_at - now())::float8 * 1000, 0) as due_in_ms,
      r.owner is not null and (w.incarnation is null
        or greatest(w.beat_at, pg_postmaster_start_time()) < now() - ${SILENT_SECONDS} * interval '1 second'
      ) as owner_silent
    from runs r left join workers w on w.incarnation = r.owner
    where r.run_id = any(${pgArray(runs)}::text[])`;
}

/** Gives runs back that this worker owns under these attempts and does not execute (any more): not a crash. */
export async function handBack(
  sql: Sql,
  owner: string,
  runs: readonly { run_id: RunId; attempt: number }[],
): Promise<RunId[]> {
  const rows = await sql<{ run_id: RunId }[]>`
    update runs r set status = 'queued', owner = null, wake_at = now()
    from unnest(${pgArray(runs.map((r) => r.run_id))}::text[], ${pgArray(runs.map((r) => r.attempt))}::int[])
      as mine(run_id, attempt)
    where r.run_id = mine.run_id and r.attempt = mine.attempt and r.owner = ${owner} and r.status = 'running'
    returning r.run_id`;
  return rows.map((row) => row.run_id);
}

/** The JSON text of the definition that a run is pinned to. It never changes, so it may be kept for ever. */
export async function readPinned(
  sql: Sql,
  definitionTenant: string,
  id: string,
  version: number,
): Promise<string | null> {
  const [row] = await sql<{ definition: string }[]>`
    select definition from orchestration_versions
    where tenant_id = ${definitionTenant} and id = ${id} and version = ${version}`;
  return row?.definition ?? null;
}
