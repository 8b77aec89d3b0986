import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { BulkResult } from "../../runs/bulk-action.ts";
import { cancel } from "../../runs/cancel.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { FILTERED, METADATA_SENTENCES, RunSelection, applyToSelected } from "../../runs/runs-by-filter.ts";

const NOT_TERMINAL = ["queued", "running", "paused"] as const;

const Request = RunSelection.extend({
  status: z
    .array(z.enum(NOT_TERMINAL))
    .min(1)
    .default([...NOT_TERMINAL]),
})
  .refine(...FILTERED)
  .meta({ id: "CancelRuns" });

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs:cancel",
  operationId: "cancelRuns",
  tags: ["Runs"],
  summary: "Cancel many runs",
  description:
    "The runs that match the filter, at most `limit` in a request; `next_cursor` has the next page. Without a filter, `all: true` is required. `dry_run` only " +
    "counts. Each run has its own result. " +
    METADATA_SENTENCES,
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody({ schema: Request })] as const,
  request: { body: { required: true, content: { "application/json": { schema: Request } } } },
  responses: { 200: json(BulkResult, "The result of each run"), ...problems(400, 413, 415) },
});

export function cancelRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const { status: statuses, ...selection } = c.req.valid("json");
    const selected = { principal, selection, statuses };
    const result = await applyToSelected(services.sql, selected, async (run) => {
      const status = await cancel(services, principal.tenant, run);
      if (status === null || status === "finished") {
        throw new AppError("run_finished", "The run has already ended.");
      }
      return status;
    });
    return c.json(result, 200);
  });
}
