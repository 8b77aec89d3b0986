import { z } from "zod";
import { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

/** The runs of a lane. `waiting`: queued and due; `delayed`: queued for later; ended ones: of the last 24 hours. */
const LaneCounts = z.object({
  lane: Lane,
  waiting: z.number(),
  active: z.number(),
  delayed: z.number(),
  completed: z.number(),
  failed: z.number(),
});
export type LaneCounts = z.infer<typeof LaneCounts>;

/**
 * Counts each lane. Of queued runs it reads 200,000 at most, of ended ones the latest 100,000: the limits are literals, see
 * list-runs.ts.
 */
export async function countLanes(sql: Sql): Promise<LaneCounts[]> {
  const rows = await sql`
    with counted as (
      select lane, case when wake_at <= now() then 'waiting' else 'delayed' end as state
      from (select lane, wake_at from runs where status = 'queued' limit 200000) queued
      union all
      select lane, 'active' from runs where status = 'running'
      union all
      select lane, status from (
        select lane, status from runs where ended_at > now() - interval '24 hours' order by ended_at desc limit 100000
      ) ended
    )
    select l.lane,
      count(*) filter (where state = 'waiting')::int as waiting, count(*) filter (where state = 'active')::int as active,
      count(*) filter (where state = 'delayed')::int as delayed,
      count(*) filter (where state = 'completed')::int as completed,
      count(*) filter (where state = 'failed')::int as failed
    from unnest(string_to_array(${Lane.options.join(",")}, ',')) l(lane) left join counted c on c.lane = l.lane
    group by l.lane`;
  return rows.map((row) => LaneCounts.parse(row));
}
