import { z } from "zod";
import { burstOf } from "../../contracts/lane-settings.ts";
import { Lane } from "../../contracts/run.ts";
import type { Sql } from "../sql.ts";

/** The starts that a worker wants of a lane. `wanted`: how many; below 0, how many it gives back. `perSecond`: the lane's rate. */
export const LaneToStart = z.object({
  lane: Lane,
  wanted: z.number().int().min(-1_000).max(1_000),
  perSecond: z.number().positive(),
});
export type LaneToStart = z.infer<typeof LaneToStart>;

/** `granted`: how many starts the worker may make. `next_ms`: the time until the lane's next start. */
export const StartsTaken = z.object({ granted: z.number().int(), next_ms: z.number() });
export type StartsTaken = z.infer<typeof StartsTaken>;

/**
 * Takes starts of a lane with a rate, for work that Postgres hands out: all workers together never pass the rate
 * (docs/protocol.md 5.23). Starts that a dead worker had taken are lost, which costs the lane a quarter of a second at most.
 */
export async function takeStarts(sql: Sql, { lane, wanted, perSecond }: LaneToStart): Promise<StartsTaken> {
  const [row] = await sql`
    select granted, next_ms from take_starts(${lane}, ${wanted}, ${perSecond}::float8, ${burstOf(perSecond)}::float8)`;
  return StartsTaken.parse(row);
}
