import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Bulk } from "../../runs/bulk.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { retry } from "../../runs/retry.ts";
import { RunChoice, forChosen } from "../../runs/run-selection.ts";

const Request = RunChoice.extend({
  status: z
    .array(z.enum(["failed", "cancelled"]))
    .min(1)
    .default(["failed"]),
}).meta({ id: "RetryRuns" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs:retry",
  summary: "Retry many runs",
  description:
    "Failed ones, unless `status` says otherwise, that the filter means, at most `limit` a request; `next_cursor` " +
    "leads on. `dry_run` only counts. Each run has its own answer; a queue that is full is one.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody] as const,
  request: { body: { required: true, content: { "application/json": { schema: Request } } } },
  responses: { 200: json(Bulk, "What became of each"), ...problems(400, 413, 415, 422) },
});

export function retryRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const { status: statuses, ...choice } = c.req.valid("json");
    const done = await forChosen(services.sql, principal, choice, statuses, async (run) => {
      await retry(services, principal.tenant, run, null);
      return "queued";
    });
    return c.json(done, 200);
  });
}
