import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listOpenQuestions } from "../../../shared/store/runs/answer-wait.ts";
import { listBudgetWaits } from "../../../shared/store/money/budget-waits.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunView, findRun, viewOf } from "../../runs/run-view.ts";

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
    // A question in a branch may be open while other branches move.
    const questions = row.asks ? await listOpenQuestions(sql, row.run_id) : [];
    const budgets = row.waits_for_budget ? await listBudgetWaits(sql, row.run_id) : [];
    return c.json(viewOf(row, questions, budgets), 200);
  });
}
