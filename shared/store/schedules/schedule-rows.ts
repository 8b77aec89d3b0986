import { MAX_PER_TENANT, Schedule, TickRecord } from "../../contracts/schedule.ts";
import type { TenantId } from "../../contracts/ids.ts";
import type { Sql } from "../sql.ts";

/** The columns of a schedule as `Schedule` has them. */
export function scheduleColumns(sql: Sql) {
  return sql`tenant_id, id, orchestration_id, cron, timezone, jitter_seconds, overlap, catch_up, paused, request,
    version::float8 as version, (extract(epoch from next_tick_at) * 1000)::float8 as next_tick_at_ms, refused,
    extract(epoch from created_at)::float8 * 1000 as created_at_ms,
    extract(epoch from updated_at)::float8 * 1000 as updated_at_ms`;
}

/** The time of Postgres, in milliseconds since 1970: ticks are compared with no other clock. */
export async function readNow(sql: Sql): Promise<number> {
  const [row] = await sql<{ now: number }[]>`select floor(extract(epoch from now()) * 1000)::float8 as now`;
  if (!row) throw new Error("a select without from returned no row");
  return row.now;
}

/** When the next tick is, and when it starts with its jitter; null: the schedule is paused. */
export type NextTick = { tick_ms: number; start_ms: number } | null;

type SavedSchedule = Omit<
  Schedule,
  "version" | "next_tick_at_ms" | "refused" | "created_at_ms" | "updated_at_ms"
>;

/**
 * Creates or replaces a schedule. A save that leaves its times as they are keeps the tick that it waits for: that one may be due, and wait for
 * its jitter, for room or for the end of an outage.
 * @param next the next tick of a schedule that is new, paused until now, or has other times
 * @returns null when it would be one more than a tenant may have
 */
export async function saveSchedule(
  sql: Sql,
  schedule: SavedSchedule,
  next: NextTick,
): Promise<Schedule | null> {
  const s = schedule;
  // A kept tick is looked at again at once: its start follows from the new jitter.
  const isKept = sql`s.cron = excluded.cron and s.timezone = excluded.timezone and not s.paused and not excluded.paused`;
  const [row] = await sql`
    insert into schedules as s (tenant_id, id, orchestration_id, cron, timezone, jitter_seconds, overlap, catch_up, paused,
      request, next_tick_at, try_at)
    select ${s.tenant_id}, ${s.id}, ${s.orchestration_id}, ${s.cron}, ${s.timezone}, ${s.jitter_seconds}::int, ${s.overlap},
      ${s.catch_up}::int, ${s.paused}::boolean, ${s.request}, ${time(sql, next?.tick_ms)}, ${time(sql, next?.start_ms)}
    where (select count(*) from schedules where tenant_id = ${s.tenant_id} and id <> ${s.id}) < ${MAX_PER_TENANT}::int
    on conflict (tenant_id, id) do update set
      orchestration_id = excluded.orchestration_id, cron = excluded.cron, timezone = excluded.timezone,
      jitter_seconds = excluded.jitter_seconds, overlap = excluded.overlap, catch_up = excluded.catch_up,
      paused = excluded.paused, request = excluded.request, version = s.version + 1, updated_at = now(),
      next_tick_at = case when ${isKept} then s.next_tick_at else excluded.next_tick_at end,
      try_at = case when ${isKept} then s.next_tick_at else excluded.try_at end,
      refused = case when ${isKept} then s.refused end
    returning ${scheduleColumns(sql)}`;
  return row ? Schedule.parse(row) : null;
}

function time(sql: Sql, ms: number | undefined) {
  return sql`to_timestamp(${ms ?? null}::float8 / 1000)`;
}

/** Pauses a schedule, or lets it go on from its next tick. @returns null when it was changed since it was read */
export async function setPaused(sql: Sql, schedule: Schedule, next: NextTick): Promise<Schedule | null> {
  const [row] = await sql`
    update schedules set paused = ${next === null}, next_tick_at = ${time(sql, next?.tick_ms)},
      try_at = ${time(sql, next?.start_ms)}, refused = null, version = version + 1, updated_at = now()
    where tenant_id = ${schedule.tenant_id} and id = ${schedule.id} and version = ${schedule.version}::bigint
    returning ${scheduleColumns(sql)}`;
  return row ? Schedule.parse(row) : null;
}

/** One schedule of a tenant, or null. */
export async function readSchedule(sql: Sql, tenant: TenantId, id: string): Promise<Schedule | null> {
  const [row] =
    await sql`select ${scheduleColumns(sql)} from schedules where tenant_id = ${tenant} and id = ${id}`;
  return row ? Schedule.parse(row) : null;
}

/** A page of a tenant's schedules, ordered by id. */
export async function listSchedules(
  sql: Sql,
  tenant: TenantId,
  after: string,
  limit: number,
): Promise<Schedule[]> {
  const rows = await sql`
    select ${scheduleColumns(sql)} from schedules
    where tenant_id = ${tenant} and id > ${after} order by id limit ${limit}`;
  return rows.map((row) => Schedule.parse(row));
}

/** Deletes a schedule and the record of its ticks. Its runs go on. @returns false: there is none */
export async function deleteSchedule(sql: Sql, tenant: TenantId, id: string): Promise<boolean> {
  const rows = await sql`
    with ticks as (delete from schedule_ticks where tenant_id = ${tenant} and schedule_id = ${id})
    delete from schedules where tenant_id = ${tenant} and id = ${id} returning id`;
  return rows.length > 0;
}

/** The newest ticks of a schedule, the newest first. Those of an earlier schedule with this id, whose delete a worker saw late, are not of it. */
export async function listTicks(
  sql: Sql,
  tenant: TenantId,
  id: string,
  limit: number,
): Promise<TickRecord[]> {
  const rows = await sql`
    select (extract(epoch from tick_at) * 1000)::float8 as tick_ms, outcome, run_id, reason,
      (extract(epoch from until_at) * 1000)::float8 as until_ms
    from schedule_ticks
    where tenant_id = ${tenant} and schedule_id = ${id}
      and recorded_at >= (select created_at from schedules where tenant_id = ${tenant} and id = ${id})
    order by tick_at desc limit ${limit}`;
  return rows.map((row) => TickRecord.parse(row));
}

/** Records a tick that did not come from the clock: a run that a client started by hand. */
export async function insertTick(sql: Sql, tenant: TenantId, id: string, tick: TickRecord): Promise<void> {
  await sql`
    insert into schedule_ticks (tenant_id, schedule_id, tick_at, outcome, run_id, reason)
    values (${tenant}, ${id}, ${time(sql, tick.tick_ms)}, ${tick.outcome}, ${tick.run_id}, ${tick.reason})
    on conflict (tenant_id, schedule_id, tick_at) do nothing`;
}
