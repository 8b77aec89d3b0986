import type { Context } from "hono";
import { TERMINAL } from "../../shared/contracts/run.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import type { ApiEnv } from "../http/api.ts";
import { replay } from "./replay.ts";

/** The events of a run after number `after`: a finished one's from the journal, a live one's from its relay. */
export async function openEvents(c: Context<ApiEnv>, row: RunRow, after: number): Promise<Response> {
  const { sql, relay } = c.get("services");
  if (TERMINAL.has(row.status)) return replay(sql, row.run_id, after, row.event_seq);
  return relay(row.run_id, after, c.req.raw.signal);
}
