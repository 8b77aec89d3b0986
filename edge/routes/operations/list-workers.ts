import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { Lane } from "../../../shared/contracts/run.ts";
import { listWorkers as list } from "../../../shared/store/workers/worker-rows.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";

const Worker = z
  .object({
    worker_id: z.string(),
    /** One life of the process. A restarted process has the same `worker_id` and another incarnation. */
    incarnation: z.string(),
    /** Null for a tenant's key: the machines are the operator's. */
    hostname: z.string().nullable(),
    address: z.string().nullable(),
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

/** No worker is without an MCP server that others have: each use is a connection of its own. */
const NONE: string[] = [];

const route = createRoute({
  method: "get",
  path: "/api/v2/workers",
  operationId: "listWorkers",
  tags: ["Operations"],
  summary: "List the workers of the last day",
  description: "A tenant's key sees which workers there are, and not their hosts and loads.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  responses: {
    200: json(z.array(Worker), "One entry for each life of a process, the newest first"),
    ...problems(),
  },
});

export function listWorkers(api: Api): void {
  api.openapi(route, async (c) => {
    const rows = await list(c.get("services").sql);
    const isOperator = c.get("principal").tenant === null;
    return c.json(
      rows.map((row) => ({
        worker_id: row.worker_id,
        incarnation: row.incarnation,
        hostname: isOperator ? row.hostname : null,
        address: isOperator ? row.address : null,
        status: row.status,
        lanes: row.lanes,
        active_jobs: isOperator ? row.active : null,
        max_jobs: isOperator ? row.slots : null,
        last_heartbeat: new Date(row.beat_at_ms).toISOString(),
        registered_at: new Date(row.registered_at_ms).toISOString(),
        loop_lag_ms: isOperator ? row.loop_lag_ms : null,
        mcp_disabled: NONE,
      })),
      200,
    );
  });
}
