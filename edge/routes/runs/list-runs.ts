import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunListQuery, pageOfRuns } from "../../runs/run-list.ts";
import { RunSummary } from "../../runs/run-view.ts";

const RunList = z
  .object({ data: z.array(RunSummary), next_cursor: z.string().nullable() })
  .meta({ id: "RunList" });

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs",
  operationId: "listRuns",
  tags: ["Runs"],
  summary: "List runs",
  description:
    "The newest first, by the time at which they were queued. A tenant's key gets the runs of its tenant; a platform key " +
    "those of all tenants, or of `tenant_id`. Send `next_cursor` as `cursor` for the next page, until it is null. A page " +
    "examines at most 2,000 runs for a filter of metadata (or another one that no index has), and has at most 1 MiB of " +
    "metadata, so it may have fewer runs than `limit`, even none, and a `next_cursor` nevertheless. Metadata over 16 KiB " +
    "matches no filter.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: RunListQuery },
  responses: { 200: json(RunList, "The runs"), ...problems(400) },
});

export function listRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const { runs, cursor } = await pageOfRuns(sql, c.get("principal"), c.req.valid("query"), c.req.query());
    return c.json({ data: runs, next_cursor: cursor }, 200);
  });
}
