import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { BatchView, findBatch, viewOfBatch } from "../../runs/batch-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/batches/{batch_id}",
  operationId: "getBatch",
  tags: ["Runs"],
  summary: "Read the progress of a batch",
  description:
    "A batch is kept for 30 days, and as long as one of its runs. Runs that retention has deleted are counted in `deleted`, and their " +
    "results are left out.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ batch_id: z.string() }) },
  responses: { 200: json(BatchView, "The progress"), ...problems(404) },
});

export function getBatch(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql } = c.get("services");
    const row = await findBatch(sql, c.get("principal"), c.req.valid("param").batch_id);
    return c.json(await viewOfBatch(sql, row), 200);
  });
}
