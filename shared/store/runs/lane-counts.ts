import { z } from "zod";
import { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

/**
 * The runs of a lane, or the deliveries of the lane `webhooks`. `waiting`: queued and due; `delayed`: queued for later; ended
 * ones: of the last 24 hours.
 */
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
 * Counts each lane. Of queued runs it reads 200,000 at most, of ended ones the latest 100,000, and as many deliveries: the limits are
 * literals, see list-runs.ts.
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
      union all
      select 'webhooks', case when sending then 'active' when next_at <= now() then 'waiting' else 'delayed' end
      from (select sending, next_at from webhook_deliveries where done_at is null limit 200000) pending
      union all
      select 'webhooks', case outcome when 'delivered' then 'completed' else 'failed' end
      from (
        select outcome, done_at from webhook_deliveries where created_at > now() - interval '48 hours'
        order by created_at desc limit 100000
      ) made
      where done_at > now() - interval '24 hours'
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
