import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunView, findRun, runViewOf } from "../../runs/run-view.ts";
import { readRelated } from "../../runs/run-waits.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/status",
  operationId: "getRunStatus",
  tags: ["Runs"],
  summary: "Read the status of a run",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: z.string() }) },
  responses: { 200: json(RunView, "The run"), ...problems(404) },
});

export function getRunStatus(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const row = await findRun(sql, c.get("principal"), c.req.valid("param").run_id);
    return c.json(runViewOf(row, await readRelated(sql, row)), 200);
  });
}
