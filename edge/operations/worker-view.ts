import { z } from "zod";
import { Lane } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { badCursor } from "../http/paging.ts";
import type { WorkerPlace, WorkerRow } from "../../shared/store/workers/worker-rows.ts";

/** One incarnation of a worker, as clients see it. */
export const WorkerView = z
  .object({
    worker_id: z.string(),
    /** The process from its start to its end. A restarted process has the same `worker_id` and another incarnation. */
    incarnation: z.string(),
    /** Null for a tenant's key: the machines are the operator's. */
    hostname: z.string().nullable(),
    address: z.string().nullable(),
    pid: z.number().int().nullable(),
    /** `silent`: no beat for so long that other workers take its runs over; `offline`: no beat for 90 s, or stopped. */
    status: z.enum(["online", "draining", "silent", "offline"]),
    lanes: z.array(Lane),
    /** Null for a tenant's key: the load is that of all tenants. */
    active_jobs: z.number().int().nullable(),
    max_jobs: z.number().int().nullable(),
    last_heartbeat: z.iso.datetime(),
    registered_at: z.iso.datetime(),
    loop_lag_ms: z.number().int().nullable(),
    mcp_disabled: z.array(z.string()),
  })
  .meta({ id: "Worker" });

/** The predecessor's workers list the MCP servers that are disabled on them. Here every worker may use every MCP server. */
const NONE: string[] = [];

export function workerViewOf(row: WorkerRow, { tenant }: Principal): z.infer<typeof WorkerView> {
  const isOperator = tenant === null;
  return {
    worker_id: row.worker_id,
    incarnation: row.incarnation,
    hostname: isOperator ? row.hostname : null,
    address: isOperator ? row.address : null,
    pid: isOperator ? row.pid : null,
    status: row.status,
    lanes: row.lanes,
    active_jobs: isOperator ? row.active : null,
    max_jobs: isOperator ? row.slots : null,
    last_heartbeat: new Date(row.beat_at_ms).toISOString(),
    registered_at: new Date(row.registered_at_ms).toISOString(),
    loop_lag_ms: isOperator ? row.loop_lag_ms : null,
    mcp_disabled: NONE,
  };
}

/** The `#` of an incarnation, which would begin the fragment of a URL, is a colon in a cursor. */
export function workerCursorOf({ registered_at_us, incarnation }: WorkerPlace): string {
  return `${registered_at_us}.${incarnation.replace("#", ":")}`;
}

/** The place that a cursor names; null: the first page. @throws AppError `bad_cursor` */
export function workerPlaceOf(cursor: string): WorkerPlace | null {
  if (cursor === "") return null;
  const [, us = "", worker = "", random = ""] = /^([0-9]{1,16})\.([^:]+):([0-9a-f]{8})$/.exec(cursor) ?? [];
  if (us !== "") return { registered_at_us: Number(us), incarnation: `${worker}#${random}` };
  throw badCursor();
}

/** The name of a worker in a path: its id, or one of its incarnations. */
export const WorkerName = z.object({ id: z.string().min(1).max(200) });

export function noWorkerOfName(): AppError {
  return new AppError("not_found", "There is no such worker.");
}
