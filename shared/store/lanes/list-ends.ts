import type { Lane } from "../../contracts/run.ts";
import { RUN_KEPT_SECONDS } from "../../contracts/lane-settings.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** The runs of a lane with one kind of end, `failed` with those that were cancelled: a lane's settings have bounds for each kind. */
export type LaneEnds = { lane: Lane; outcome: "completed" | "failed" };

/** How many ended runs, of any lane, one call examines. A literal in the statement: see list-runs.ts. */
const EXAMINED = 5_000;

/**
 * Lists the next ended runs of a lane in `lane_ends`, in the order of their ends, from an hour after it: by then every run that ended
 * before it is committed, and has been counted (docs/protocol.md 7.11). A run that was retried and has ended again is listed once.
 * The lane has a row in `lane_retention`.
 * @returns true when more may be left
 */
export async function listEnds(sql: Sql, { lane, outcome }: LaneEnds): Promise<boolean> {
  const [row] = await sql<{ examined: number }[]>`
    with span as materialized (
      select last_ended_at, last_run from lane_retention where lane = ${lane} and outcome = ${outcome} for update
    ), page as materialized (
      select r.ended_at, r.run_id, r.tenant_id, r.lane, r.status from runs r
      where r.ended_at >= (select last_ended_at from span)
        and r.ended_at < now() - ${RUN_KEPT_SECONDS}::int * interval '1 second'
        and (r.ended_at, r.run_id) > (select last_ended_at, last_run from span)
      order by r.ended_at, r.run_id limit 5000
    ), listed as (
      insert into lane_ends as l (run_id, lane, outcome, tenant_id, ended_at)
      select run_id, lane, ${outcome}, tenant_id, ended_at from page where lane = ${lane} and status ${ofOutcome(sql, outcome)}
      on conflict (run_id) do update set lane = excluded.lane, outcome = excluded.outcome, ended_at = excluded.ended_at
        where l.ended_at < excluded.ended_at
    ), moved as (
      update lane_retention p set last_ended_at = e.ended_at, last_run = e.run_id
      from (select ended_at, run_id from page order by ended_at desc, run_id desc limit 1) e
      where p.lane = ${lane} and p.outcome = ${outcome}
    )
    select count(*)::int as examined from page`;
  return row?.examined === EXAMINED;
}

function ofOutcome(sql: Sql, outcome: LaneEnds["outcome"]): PendingQuery<Row[]> {
  return outcome === "completed" ? sql`= 'completed'` : sql`in ('failed', 'cancelled')`;
}
