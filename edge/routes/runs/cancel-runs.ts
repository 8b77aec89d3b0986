import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Bulk } from "../../runs/bulk.ts";
import { cancel } from "../../runs/cancel.ts";
import { jsonBody } from "../../http/middleware/json-body.ts";
import { needs } from "../../http/middleware/principal.ts";
import { RunChoice, forChosen } from "../../runs/run-selection.ts";

const OPEN = ["queued", "running", "paused"] as const;

const Request = RunChoice.extend({
  status: z
    .array(z.enum(OPEN))
    .min(1)
    .default([...OPEN]),
}).meta({
  id: "CancelRuns",
});

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs:cancel",
  summary: "Cancel many runs",
  description:
    "Those that the filter means, at most `limit` a request; `next_cursor` leads on. `dry_run` only counts. " +
    "Each run has its own answer.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write"), jsonBody] as const,
  request: { body: { required: true, content: { "application/json": { schema: Request } } } },
  responses: { 200: json(Bulk, "What became of each"), ...problems(400, 413, 415, 422) },
});

export function cancelRuns(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const principal = c.get("principal");
    const { status: statuses, ...choice } = c.req.valid("json");
    const done = await forChosen(services.sql, principal, choice, statuses, async (run) => {
      const status = await cancel(services, principal.tenant, run);
      if (status === null || status === "finished") {
        throw new AppError("run_finished", "The run has ended; nothing is left to cancel.");
      }
      return status;
    });
    return c.json(done, 200);
  });
}
