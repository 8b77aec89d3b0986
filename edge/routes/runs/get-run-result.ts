import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TERMINAL } from "../../../shared/contracts/run.ts";
import { AppError } from "../../../shared/errors.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunResult, resultOf } from "../../runs/run-result.ts";
import { findRun } from "../../runs/run-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/result",
  operationId: "getRunResult",
  tags: ["Runs"],
  summary: "Read the result of a run",
  description:
    "Values over 32 KiB are references: `{ $ref, size, content_type, preview, url }`, and `url` opens one with the same key.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: z.string() }) },
  responses: { 200: json(RunResult, "The result"), ...problems(404, 409) },
});

export function getRunResult(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const row = await findRun(services.sql, c.get("principal"), c.req.valid("param").run_id);
    if (!TERMINAL.has(row.status)) {
      throw new AppError("run_not_finished", `The run is ${row.status}; its stream ends with the run.`);
    }
    return c.json(await resultOf(services, row), 200);
  });
}
