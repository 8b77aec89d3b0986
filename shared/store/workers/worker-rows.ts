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
  status: "online" | "draining" | "silent" | "offline";
  lanes: Lane[];
  slots: number;
  active: number;
  loop_lag_ms: number;
  beat_at_ms: number;
  registered_at_ms: number;
};

/** The incarnations that have beaten in the last day, the newest first, 1,000 at most. */
export async function listWorkers(sql: Sql): Promise<WorkerRow[]> {
  return sql<WorkerRow[]>`
    select incarnation, worker_id, hostname, address, to_json(lanes) as lanes, slots, loop_lag_ms, shown.status,
      case when shown.status = 'offline' then 0 else active end as active,
      extract(epoch from beat_at)::float8 * 1000 as beat_at_ms,
      extract(epoch from registered_at)::float8 * 1000 as registered_at_ms
    from workers w
    cross join lateral (
      select case
        when w.status = 'offline' or beat_at < now() - ${OFFLINE_AFTER_MS} * interval '1 millisecond' then 'offline'
        when silent_at(w) < now() then 'silent'
        else w.status
      end as status) shown
    where beat_at > now() - interval '1 day'
    order by registered_at desc limit 1000`;
}

/** A select of the workers that claim runs: those that are neither silent nor draining. */
export function activeWorkers(sql: Sql): PendingQuery<Row[]> {
  return sql`
    select lanes, slots, active from workers w where status = 'online' and beat_at + silent_after > now()`;
}
