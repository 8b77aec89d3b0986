import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { DefinitionId, RunId } from "../../../shared/contracts/ids.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunAccepted, acceptedOf } from "../../runs/run-view.ts";
import { retry } from "../../runs/retry.ts";

const RetryRequest = z.object({ from_step_id: DefinitionId.nullish() }).meta({ id: "RetryRequest" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/retry",
  operationId: "retryRun",
  tags: ["Runs"],
  summary: "Continue a failed or cancelled run",
  description:
    "The run continues from its last result, as a new attempt, within the same limits as a new run. With " +
    "`from_step_id` it repeats everything from that step's latest visit on. Its events continue the same log, to a " +
    "new `done`.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: RetryRequest, optional: true })] as const,
  request: {
    params: z.object({ run_id: RunId }),
    body: { content: { "application/json": { schema: RetryRequest } } },
  },
  responses: { 202: json(RunAccepted, "Queued again"), ...problems(400, 404, 409, 413, 415, 429) },
});

export function retryRun(api: Api): void {
  api.openapi(route, async (c) => {
    const { run_id } = c.req.valid("param");
    const { from_step_id = null } = c.req.valid("json");
    await retry(c.get("services"), c.get("principal").tenant, run_id, from_step_id);
    return c.json(acceptedOf(run_id), 202);
  });
}
