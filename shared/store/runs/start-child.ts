import { z } from "zod";
import { DefinitionId, Incarnation, RunId } from "../../contracts/ids.ts";
import { FAMILY } from "../money/budget-rows.ts";
import type { Sql } from "../sql.ts";
import { SignalledRun, signalRun, signalledRun } from "./family.ts";

/** How many runs may be above a run. */
export const MAX_DEPTH = 8;
/** How many children one run may start, in all its lives. */
export const MAX_CHILDREN = 1_000;

/** A child as its parent's worker starts it. The rest of its row is inherited from the parent's row. */
export const NewChild = z.object({
  /** Made from the parent's id and the place that starts it, so that a repetition starts no second child. */
  run_id: RunId,
  orchestration_id: DefinitionId,
  /** JSON text of a RunInput. */
  input: z.string(),
  /** The parent's wait that the child's end answers. Null: the parent does not wait, and its end leaves the child alone. */
  wait_id: z.string().nullable(),
  /** The path of the parent's step. */
  step_path: z.string(),
  /** What the parent has left. Null: it has no limit of this kind. */
  cost_limit_micro_usd: z.number().int().nullable(),
  time_limit_ms: z.number().int().nullable(),
  /** As in `acceptRuns`: with `postgres` the statement itself checks that the tenant's queue has room. */
  quota_checked_by: z.enum(["queue", "postgres"]),
  /** The context of the step that starts it; null or absent: that of the parent. */
  traceparent: z.string().max(55).nullish(),
});
export type NewChild = z.infer<typeof NewChild>;

/** The fence of the parent's worker, which starts the child. */
export const ParentFence = z.object({ run_id: RunId, owner: Incarnation, attempt: z.number().int() });
export type ParentFence = z.infer<typeof ParentFence>;

/**
 * What became of a start. `started`: the child exists; `run` has its job, null when it has been claimed, parked or ended since an earlier
 * start. `fenced`: the parent is not this worker's, or is to be cancelled. `unknown`: there is no such orchestration. `too_deep`,
 * `too_many`: MAX_DEPTH, MAX_CHILDREN. `full`: by the count of Postgres the tenant's queue has no room.
 */
export const StartedChild = z.discriminatedUnion("is", [
  z.object({ is: z.literal("started"), run: SignalledRun.nullable() }),
  z.object({ is: z.enum(["fenced", "unknown", "too_deep", "too_many", "full"]) }),
]);
export type StartedChild = z.infer<typeof StartedChild>;

type Found = {
  is_parent: boolean;
  is_known: boolean;
  is_defined: boolean;
  depth: number;
  children: number;
  run: unknown;
};

/**
 * Starts a child of a run, pinned to the newest version of its definition (the tenant's own, else the shared one): one
 * statement. A child that exists already is `started`, whatever has become of it.
 *
 * The parent may end at this very moment, before it can see the child: the claim of a child whose parent has ended cancels it.
 */
export async function startChild(sql: Sql, parent: ParentFence, child: NewChild): Promise<StartedChild> {
  const byPostgres = child.quota_checked_by === "postgres";
  const [found] = await sql<Found[]>`
    with parent as (
      select * from runs r where r.run_id = ${parent.run_id} and r.owner = ${parent.owner}
        and r.attempt = ${parent.attempt} and r.cancel_requested_at is null
    ), pinned as (
      select o.tenant_id as definition_tenant, o.version from parent p join orchestrations o
        on o.id = ${child.orchestration_id} and o.tenant_id in (p.tenant_id, '') and o.deleted_at is null
      order by o.tenant_id desc limit 1
    ), known as (
      select c.* from runs c where c.run_id = ${child.run_id} and c.parent_run_id = ${parent.run_id}
    ), siblings as (
      select count(*)::int as n from (
        select from runs where parent_run_id = ${parent.run_id} limit ${MAX_CHILDREN}) s
    ), room as (
      ${byPostgres ? sql`select queue_room(tenant_id) as n from parent` : sql`select 1 as n`}
    ), inserted as (
      insert into runs (
        run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at, lane, priority,
        correlation_id, session_id, triggered_by, input, metadata, end_user, parent_run_id, parent_wait_id, parent_step_path,
        depth, cost_limit_micro_usd, time_limit_ms, traceparent)
      select ${child.run_id}, p.tenant_id, ${child.orchestration_id}, d.definition_tenant, d.version, now(), p.lane,
        p.priority, p.correlation_id, p.session_id, 'system', ${child.input}, p.metadata, p.end_user, p.run_id, ${child.wait_id},
        ${child.step_path}, p.depth + 1, ${child.cost_limit_micro_usd}::bigint, ${child.time_limit_ms}::bigint,
        coalesce(${child.traceparent ?? null}::text, p.traceparent)
      from parent p cross join pinned d cross join siblings s cross join room
      where p.depth < ${MAX_DEPTH} and s.n < ${MAX_CHILDREN} and room.n > 0
      on conflict (run_id) do nothing
      returning *
    ), family as (
      -- From its first child on, what the parent has left is shared by its calls and those of all runs below it.
      insert into budgets (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, period_start)
      select i.tenant_id, ${FAMILY} || i.parent_run_id, ${FAMILY} || i.parent_run_id, 'total', i.cost_limit_micro_usd, 'fail',
        budget_period_start('total')
      from inserted i where i.cost_limit_micro_usd is not null
      on conflict (tenant_id, budget_id) do nothing
    )
    select p.run_id is not null as is_parent, exists (select from known) as is_known,
      exists (select from pinned) as is_defined, coalesce(p.depth, 0) as depth, s.n as children,
      (select ${signalledRun(sql)} from (select * from inserted union all select * from known where status = 'queued' and attempt = 0) r) as run
    from siblings s left join parent p on true`;
  return outcomeOf(found);
}

function outcomeOf(found: Found | undefined): StartedChild {
  if (!found?.is_parent) return { is: "fenced" };
  const run = SignalledRun.nullable().parse(found.run);
  if (run !== null || found.is_known) return { is: "started", run };
  if (!found.is_defined) return { is: "unknown" };
  if (found.depth >= MAX_DEPTH) return { is: "too_deep" };
  return { is: found.children >= MAX_CHILDREN ? "too_many" : "full" };
}

/**
 * Cancels a child whose parent waits for it no longer: it is marked, and becomes due if it waits, so that the worker that claims
 * it ends it, and with it its own children.
 * @returns the child, if it is to be enqueued, and its owner while it is running; null: it has ended
 */
export async function cancelChild(sql: Sql, parent: RunId, child: RunId): Promise<SignalledRun | null> {
  const [row] = await sql`
    update runs r set ${signalRun(sql, sql`true`)}, cancel_requested_at = coalesce(r.cancel_requested_at, now())
    where r.run_id = ${child} and r.parent_run_id = ${parent} and r.ended_at is null
    returning ${signalledRun(sql)} as run`;
  return row ? SignalledRun.parse(row["run"]) : null;
}
