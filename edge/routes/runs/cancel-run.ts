import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { cancel } from "../../runs/cancel.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noRun } from "../../runs/run-view.ts";

const route = createRoute({
  method: "post",
  path: "/api/v2/orchestrations/runs/{run_id}/cancel",
  operationId: "cancelRun",
  tags: ["Runs"],
  summary: "Cancel a run",
  description:
    "A run that waits has ended when the response arrives (`cancelled`). For a running run, the model or tool call is " +
    "aborted and its worker ends it (`cancellation_requested`); so does a worker for a run that waits and has over " +
    "256 KiB of input and results. Runs that it started are cancelled with it.",
  security: [{ key: ["runs:write"] }],
  middleware: [needs("runs:write")] as const,
  request: { params: z.object({ run_id: RunId }) },
  responses: {
    200: json(
      z.object({ status: z.enum(["cancellation_requested", "cancelled"]), run_id: RunId }),
      "Cancelled, or about to be cancelled",
    ),
    ...problems(404, 409),
  },
});

export function cancelRun(api: Api): void {
  api.openapi(route, async (c) => {
    const { run_id } = c.req.valid("param");
    const status = await cancel(c.get("services"), c.get("principal").tenant, run_id);
    if (status === null) throw noRun();
    if (status === "finished") throw new AppError("run_finished", "The run has already ended.");
    return c.json({ status, run_id }, 200);
  });
}
