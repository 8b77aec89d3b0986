import { ChangedLanes } from "../../contracts/lane-settings.ts";
import type { LaneChange } from "../../contracts/lane-settings.ts";
import type { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

/** Reads the settings of lanes that operators have changed. */
export async function readLanes(sql: Sql): Promise<ChangedLanes> {
  const [row] = await sql`select coalesce(json_object_agg(lane, settings), '{}') as lanes from lanes`;
  return ChangedLanes.parse(row?.["lanes"]);
}

/** Changes settings of a lane: null returns one to its default. @returns all lanes, as `readLanes` does */
export async function changeLane(sql: Sql, lane: Lane, change: LaneChange): Promise<ChangedLanes> {
  const [row] = await sql`
    with changed as (
      insert into lanes (lane, settings) values (${lane}, jsonb_strip_nulls(${JSON.stringify(change)}::text::jsonb))
      on conflict (lane) do update set updated_at = now(),
        settings = jsonb_strip_nulls(lanes.settings || ${JSON.stringify(change)}::text::jsonb)
      returning lane, settings
    ), others as (
      select lane, settings from lanes where lane <> ${lane} union all select lane, settings from changed
    )
    select json_object_agg(lane, settings) as lanes from others`;
  return ChangedLanes.parse(row?.["lanes"]);
}
