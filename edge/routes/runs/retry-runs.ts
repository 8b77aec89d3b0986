import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { BulkResult } from "../../runs/bulk-action.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { retry } from "../../runs/retry.ts";
import { FILTERED, METADATA_SENTENCES, RunSelection, applyToSelected } from "../../runs/runs-by-filter.ts";

const Request = RunSelection.extend({
  status: z
    .array(z.enum(["failed", "cancelled"]))
    .min(1)
    .default(["failed"]),
})
  .refine(...FILTERED)
  .meta({ id: "RetryRuns" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs:retry",
  operationId: "retryRuns",
  tags: ["Runs"],
  summary: "Retry many runs",
  description:
    "The failed runs (or the runs of the given `status`) that match the filter, at most `limit` in a request; " +
    "`next_cursor` has the next page. Without a filter, `all: true` is required. `dry_run` only counts. Each run has its own result, such as `queue_full`. " +
    METADATA_SENTENCES,
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: Request })] as const,
  request: { body: { required: true, content: { "application/json": { schema: Request } } } },
  responses: { 200: json(BulkResult, "The result of each run"), ...problems(400, 413, 415) },
});

export function retryRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const { status: statuses, ...selection } = c.req.valid("json");
    const selected = { principal, selection, statuses };
    const result = await applyToSelected(services.sql, selected, async (run) => {
      await retry(services, principal.tenant, run, null);
      return "queued";
    });
    return c.json(result, 200);
  });
}
