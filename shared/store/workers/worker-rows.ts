import type { Lane } from "../../contracts/run.ts";
import { OFFLINE_AFTER_MS } from "../../timing.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/**
 * A worker as operators see it. `status` is `silent` as soon as its runs may be taken over, and `offline` when the
 * worker has reported that, or has not beaten for 90 s. An offline worker is shown with no active runs.
 */
export type WorkerRow = {
  incarnation: string;
  worker_id: string;
  hostname: string;
  address: string;
  /** Null: a worker of an earlier version. */
  pid: number | null;
  status: "online" | "draining" | "silent" | "offline";
  lanes: Lane[];
  slots: number;
  active: number;
  loop_lag_ms: number;
  beat_at_ms: number;
  registered_at_ms: number;
  /** Its place in the list, to the microsecond. */
  registered_at_us: number;
};

/** The last incarnation of a page of workers. */
export type WorkerPlace = Pick<WorkerRow, "registered_at_us" | "incarnation">;

/** A page of the incarnations that have beaten in the last day, the newest first. @param after null: the first page */
export async function listWorkers(sql: Sql, after: WorkerPlace | null, limit: number): Promise<WorkerRow[]> {
  const { registered_at_us: us = null, incarnation = "" } = after ?? {};
  return sql<WorkerRow[]>`
    ${shownWorkers(sql)} where beat_at > now() - interval '1 day'
      and (${us}::float8 is null
        or (registered_at, incarnation) < (timestamptz 'epoch' + ${us}::float8 * interval '1 microsecond', ${incarnation}))
    order by registered_at desc, incarnation desc limit ${limit}`;
}

/** How many workers beat, and the runs that they execute and may execute at once. */
export async function sumOfWorkers(sql: Sql): Promise<{ workers: number; active: number; slots: number }> {
  const [row] = await sql<{ workers: number; active: number; slots: number }[]>`
    select count(*)::int as workers, coalesce(sum(active), 0)::int as active, coalesce(sum(slots), 0)::int as slots
    from (${shownWorkers(sql)}) s where s.status in ('online', 'draining')`;
  return row ?? { workers: 0, active: 0, slots: 0 };
}

/** The incarnation with this name, else the newest incarnation of the worker with this id; null: there is none. */
export async function findWorker(sql: Sql, name: string): Promise<WorkerRow | null> {
  const [row] = await sql<WorkerRow[]>`
    ${shownWorkers(sql)} where incarnation = ${name} or worker_id = ${name}
    order by beat_at desc limit 1`;
  return row ?? null;
}

/**
 * Asks the incarnations of a worker that are not offline to drain. Each learns of it by its next beat, so the request survives a loss of
 * Redis.
 * @param name a worker's id, or one incarnation
 * @returns the incarnations that were asked
 */
export async function requestDrain(sql: Sql, name: string): Promise<string[]> {
  const rows = await sql<{ incarnation: string }[]>`
    update workers set drain_requested_at = coalesce(drain_requested_at, now())
    where (incarnation = ${name} or worker_id = ${name}) and not ${isOffline(sql)}
    returning incarnation`;
  return rows.map(({ incarnation }) => incarnation);
}

/**
 * Deletes the rows of all incarnations of a worker, if each is offline and owns no running run; otherwise none. The row of another
 * incarnation has to stay, because its runs would count as abandoned; and while it stays, the worker is not removed.
 * @param name a worker's id, or one incarnation
 * @returns how many were deleted
 */
export async function removeWorker(sql: Sql, name: string): Promise<number> {
  const rows = await sql`
    with named as (
      select incarnation, ${isOffline(sql)}
        and not exists (select from runs r where r.owner = workers.incarnation and r.status = 'running') as is_gone
      from workers where incarnation = ${name} or worker_id = ${name}
      for update
    )
    delete from workers using named
    where workers.incarnation = named.incarnation and not exists (select from named where not is_gone)
    returning 1`;
  return rows.length;
}

function isOffline(sql: Sql): PendingQuery<Row[]> {
  return sql`(status = 'offline' or beat_at < now() - ${OFFLINE_AFTER_MS} * interval '1 millisecond')`;
}

function shownWorkers(sql: Sql): PendingQuery<Row[]> {
  return sql`
    select incarnation, worker_id, hostname, address, pid, to_json(lanes) as lanes, slots, loop_lag_ms, shown.status,
      case when shown.status = 'offline' then 0 else active end as active,
      extract(epoch from beat_at)::float8 * 1000 as beat_at_ms,
      extract(epoch from registered_at)::float8 * 1000 as registered_at_ms,
      (extract(epoch from registered_at) * 1000000)::float8 as registered_at_us
    from workers w
    cross join lateral (
      select case
        when w.status = 'offline' or beat_at < now() - ${OFFLINE_AFTER_MS} * interval '1 millisecond' then 'offline'
        when silent_at(w) < now() then 'silent'
        else w.status
      end as status) shown`;
}

/** Whether a worker claims runs of this lane. */
export async function hasWorkerFor(sql: Sql, lane: Lane): Promise<boolean> {
  const [row] = await sql<{ has: boolean }[]>`
    select exists (select from (${activeWorkers(sql)}) w where ${lane} = any(w.lanes)) as has`;
  return row?.has === true;
}

/** A worker that sends mails; null: there is none. */
export async function findMailWorker(sql: Sql): Promise<string | null> {
  const [row] = await sql<{ incarnation: string }[]>`
    select incarnation from workers where status = 'online' and beat_at + silent_after > now() and 'mail' = any(lanes)
    order by beat_at desc limit 1`;
  return row?.incarnation ?? null;
}

/** A select of the workers that claim runs: those that are neither silent nor draining. */
export function activeWorkers(sql: Sql): PendingQuery<Row[]> {
  return sql`
    select lanes, slots, active from workers w where status = 'online' and beat_at + silent_after > now()`;
}
