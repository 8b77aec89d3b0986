import { z } from "zod";
import { RunId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import { DueRun } from "./due-runs.ts";

/** The run that has a singleton key of a tenant; null: the key is free. */
export async function findSingletonHolder(sql: Sql, tenant: TenantId, key: string): Promise<RunId | null> {
  const [row] = await sql<{ run_id: RunId }[]>`
    select run_id from singleton_holders where tenant_id = ${tenant} and singleton_key = ${key}`;
  return row?.run_id ?? null;
}

/**
 * Records what a request with an Idempotency-Key was answered when its run was skipped: `answer` instead of `run`, which
 * was not started. A run that was refused a place has no row yet. Nothing changes when the key names another run by now.
 */
export async function saveSkippedAnswer(
  sql: Sql,
  tenant: TenantId,
  key: string,
  { run, request_hash, answer }: { run: RunId; request_hash: string | null; answer: RunId },
): Promise<void> {
  await sql`
    insert into idempotency_keys as k (tenant_id, key, request_hash, run_id, skipped)
    values (${tenant}, ${key}, ${request_hash}, ${answer}, true)
    on conflict (tenant_id, key) do update
      set request_hash = excluded.request_hash, run_id = excluded.run_id, skipped = true,
        created_at = case when k.run_id = ${run} then k.created_at else excluded.created_at end
      where k.run_id = ${run} or k.created_at < now() - interval '24 hours'`;
}

/**
 * Frees an idempotency key whose run was skipped, when the edge died before it had recorded the answer: the key and its run
 * are committed in one statement, so a key whose run does not exist stands for no run. A key that stands for a run, or for an
 * answer, stays.
 */
export async function freeSkippedKey(sql: Sql, tenant: TenantId, key: string): Promise<void> {
  await sql`
    delete from idempotency_keys k where tenant_id = ${tenant} and key = ${key} and not skipped
      and not exists (select from runs r where r.run_id = k.run_id)`;
}

/** The runs that got their singleton key from one of these ended runs, as `enqueue` takes them. */
export async function listSuccessors(sql: Sql, ended: readonly RunId[]): Promise<DueRun[]> {
  return sql<DueRun[]>`
    select n.run_id, n.tenant_id, n.lane, n.priority, n.status, n.wake_at::text as wake_at,
      floor(extract(epoch from n.queued_at) * 1000)::float8 as queued_at_ms,
      extract(epoch from now() - n.wake_at)::float8 * 1000 as late_ms
    from runs e join singleton_holders h using (tenant_id, singleton_key) join runs n on n.run_id = h.run_id
    where e.run_id = any(${pgArray(ended)}::text[]) and e.ended_at is not null
      and n.status = 'queued' and n.wake_at <= now()`;
}

/** The runs that a run with the policy `cancel_previous` supersedes: those with its key that were queued before it. */
export async function listSuperseded(sql: Sql, run: RunId): Promise<RunId[]> {
  const rows = await sql<{ run_id: RunId }[]>`
    select o.run_id from runs n join runs o using (tenant_id, singleton_key)
    where n.run_id = ${run} and o.ended_at is null and o.run_id <> n.run_id
      and (o.queued_at, o.run_id) < (n.queued_at, n.run_id)
    order by o.run_id limit 1000`;
  return rows.map(({ run_id }) => run_id);
}

/** `handedOver`: keys without a living holder. `superseded`: runs that were marked as to be cancelled. */
export const SingletonRepairs = z.object({ handedOver: z.number(), superseded: z.number() });
export type SingletonRepairs = z.infer<typeof SingletonRepairs>;

/**
 * docs/protocol.md 7.12. Hands over keys that no living run holds, and marks the runs that a waiting run with the policy
 * `cancel_previous` supersedes: a running one is ended by its owner, any other becomes due, and a worker ends it.
 */
export async function repairSingletons(sql: Sql): Promise<SingletonRepairs> {
  const { count: superseded } = await sql`
    update runs r set cancel_requested_at = now(), signals = r.signals + 1,
      wake_at = case when r.status in ('queued', 'paused') then now() else r.wake_at end
    from (
      select o.run_id from runs o
      where o.singleton_key is not null and o.ended_at is null and o.cancel_requested_at is null and exists (
        select from runs n
        where n.tenant_id = o.tenant_id and n.singleton_key = o.singleton_key and n.ended_at is null
          and n.singleton_policy = 'cancel_previous' and n.status = 'queued'
          and n.wake_at > now() + interval '50 years'
          and (o.queued_at, o.run_id) < (n.queued_at, n.run_id))
      order by o.run_id limit 1000 for update skip locked
    ) s
    where r.run_id = s.run_id`;
  const [row] = await sql<{ n: number }[]>`select repair_singletons(1000) as n`;
  return { handedOver: row?.n ?? 0, superseded };
}
