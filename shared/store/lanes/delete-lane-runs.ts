import { laneSettings } from "../../contracts/lane-settings.ts";
import { Lane, isRunLane } from "../../contracts/run.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";
import { retireRuns } from "../tenants/delete-runs.ts";
import { readLanes } from "./lane-rows.ts";
import { listEnds } from "./list-ends.ts";
import type { LaneEnds } from "./list-ends.ts";

/** After this time a call begins no further slice: it is a part of one request of a worker, and the next pass goes on. */
const MAX_CALL_MS = 1_500;
/** The most runs (a literal in the statements: see list-runs.ts) and the most bytes of journal that one statement deletes. */
const RUNS = 500;
const RUN_BYTES = 32 * 1024 * 1024;
/** How many tenants one statement examines by count. Of each it reads at most as many rows as the lane keeps. */
const TENANTS = 100;

/** For how long, and how many of each tenant, a lane keeps the runs with one kind of end. Null: no bound. */
type Kept = LaneEnds & { seconds: number | null; count: number | null };

/**
 * Deletes ended runs that their lane keeps no longer: those that ended longer ago than its settings say, and of each tenant those
 * beyond the number that it keeps, the oldest first (docs/protocol.md 7.16).
 * @returns true when more may be left
 */
export async function deleteRunsOfLanes(sql: Sql): Promise<boolean> {
  const untilMs = Date.now() + MAX_CALL_MS;
  const changed = await readLanes(sql);
  const bounds = Lane.options.filter(isRunLane).flatMap((lane): Kept[] => {
    const keep = laneSettings(lane, changed);
    return [
      {
        lane,
        outcome: "completed",
        seconds: keep.keep_completed_seconds,
        count: keep.keep_completed_count,
      },
      { lane, outcome: "failed", seconds: keep.keep_failed_seconds, count: keep.keep_failed_count },
    ];
  });
  let hasMore = false;
  for (const kept of bounds) {
    const { seconds, count } = kept;
    if (seconds === null && count === null) continue;
    const { lane, outcome } = kept;
    await sql`insert into lane_retention (lane, outcome) values (${lane}, ${outcome}) on conflict do nothing`;
    const slices = [
      () => listEnds(sql, kept),
      ...(seconds === null ? [] : [() => deleteOlder(sql, kept, seconds)]),
      ...(count === null ? [] : [() => deleteBeyond(sql, kept, count)]),
    ];
    for (const slice of slices) if (await repeat(slice, untilMs)) hasMore = true;
  }
  return hasMore;
}

/** Repeats a slice while it is full and there is time. The first one is always done, so that no kind of end waits for the others. @returns true when the last slice was full */
async function repeat(slice: () => Promise<boolean>, untilMs: number): Promise<boolean> {
  for (;;) {
    if (!(await slice())) return false;
    if (Date.now() >= untilMs) return true;
  }
}

async function deleteOlder(sql: Sql, ends: LaneEnds, seconds: number): Promise<boolean> {
  const [row] = await sql<{ is_full: boolean }[]>`
    with due as materialized (
      select e.run_id, e.ended_at from lane_ends e
      where e.lane = ${ends.lane} and e.outcome = ${ends.outcome}
        and e.ended_at < now() - ${seconds} * interval '1 second' and ${isDeletable(sql)}
      order by e.ended_at, e.run_id limit 500
    ), ${retireDue(sql)}
    select ${isFull(sql)} as is_full`;
  return row?.is_full ?? false;
}

/**
 * Deletes runs beyond the number that the lane keeps, of the next tenants in turn, so that no tenant waits for another. The oldest runs of
 * each tenant go first.
 * @returns true until a round over all tenants has left nothing
 */
async function deleteBeyond(sql: Sql, { lane, outcome }: LaneEnds, count: number): Promise<boolean> {
  const [row] = await sql<{ more: boolean }[]>`
    with recursive span as materialized (
      select last_tenant, had_more from lane_retention where lane = ${lane} and outcome = ${outcome}
    ), of_tenants as (
      (select e.tenant_id, 1 as place from lane_ends e
       where e.lane = ${lane} and e.outcome = ${outcome} and e.tenant_id > (select last_tenant from span)
       order by e.tenant_id limit 1)
      union all
      select (select e.tenant_id from lane_ends e where e.lane = ${lane} and e.outcome = ${outcome}
                and e.tenant_id > t.tenant_id order by e.tenant_id limit 1), t.place + 1
      from of_tenants t where t.tenant_id is not null and t.place < ${TENANTS}
    ), beyond as (
      select o.* from of_tenants t cross join lateral (
        select e.ended_at, e.run_id from lane_ends e
        where e.lane = ${lane} and e.outcome = ${outcome} and e.tenant_id = t.tenant_id
        order by e.ended_at desc, e.run_id desc offset ${count} limit 1
      ) newest cross join lateral (
        select e.run_id, e.ended_at, row_number() over (order by e.ended_at, e.run_id) as place from lane_ends e
        where e.lane = ${lane} and e.outcome = ${outcome} and e.tenant_id = t.tenant_id
          and (e.ended_at, e.run_id) <= (newest.ended_at, newest.run_id) and ${isDeletable(sql)}
        order by e.ended_at, e.run_id limit 500
      ) o
    ), due as materialized (
      select run_id, ended_at from beyond order by place, ended_at limit 500
    ), ${retireDue(sql)}, slice as materialized (
      select had_more or ${isFull(sql)} as has_more,
        case when (select count(tenant_id) from of_tenants) = ${TENANTS}
          then (select max(tenant_id) from of_tenants) else '' end as next
      from span
    ), moved as (
      update lane_retention r set last_tenant = o.next, had_more = o.has_more and o.next <> ''
      from slice o where r.lane = ${lane} and r.outcome = ${outcome}
    )
    select has_more or next <> '' as more from slice`;
  return row?.more ?? false;
}

/** A condition: the run `e` may be deleted. It may not while its parent has not ended, or a delivery of it is still to be sent. */
function isDeletable(sql: Sql): PendingQuery<Row[]> {
  return sql`not exists (
      select from runs c join runs p on p.run_id = c.parent_run_id where c.run_id = e.run_id and p.ended_at is null
    ) and not exists (select from webhook_deliveries d where d.run_id = e.run_id and d.done_at is null)`;
}

/**
 * The CTEs that delete the runs of `due` (run_id, ended_at), up to RUN_BYTES of journal, and the rows of `lane_ends` whose run has been
 * retried since.
 */
function retireDue(sql: Sql): PendingQuery<Row[]> {
  return sql`locked as materialized (
      select r.* from due cross join lateral (
        select run_id, tenant_id, journal_bytes, archive_segment from runs r
        where r.run_id = due.run_id and r.ended_at = due.ended_at limit 1 for update skip locked
      ) r
    ), doomed as materialized (
      select run_id, tenant_id, archive_segment from (
        select *, sum(journal_bytes) over (order by run_id) - journal_bytes as bytes_before from locked
      ) r where bytes_before < ${RUN_BYTES}
    ), ${retireRuns(sql)}, outdated as (
      delete from lane_ends l using due where l.run_id = due.run_id
        and not exists (select from runs r where r.run_id = due.run_id and r.ended_at = due.ended_at)
    )`;
}

/** Whether a statement with `retireDue` has left runs of its kind. */
function isFull(sql: Sql): PendingQuery<Row[]> {
  return sql`((select count(*) from due) = ${RUNS} or (select count(*) from doomed) < (select count(*) from locked))`;
}
