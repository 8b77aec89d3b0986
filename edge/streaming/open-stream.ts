import type { Context } from "hono";
import type { ApiEnv } from "../http/api.ts";
import type { WatchedRun } from "./access.ts";
import { fromObject } from "./stream-request.ts";

/**
 * Streams the events of a run after number `after`, from the relay of its shard, also those of a run that has ended: all
 * viewers of a relay share its connections, and a slow one takes a page of its memory and no connection.
 * @throws AppError `too_many_streams`
 */
export function openEvents(c: Context<ApiEnv>, { row, grant }: WatchedRun, after: number): Promise<Response> {
  const join = { ...grant, run: row.run_id, tenant: row.tenant_id, after };
  return fromObject(c, () => c.get("services").relay(join, c.req.raw.signal));
}
