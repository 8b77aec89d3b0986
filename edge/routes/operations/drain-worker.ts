import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { findWorker, requestDrain } from "../../../shared/store/workers/worker-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { WorkerName, noWorkerOfName } from "../../operations/worker-view.ts";

const Draining = z.object({
  status: z.literal("draining"),
  worker_id: z.string(),
  incarnations: z.array(z.string()),
});

const routeAt = (prefix: string) =>
  createRoute({
    method: "post",
    path: `${prefix}/workers/{id}/drain`,
    operationId: operationIdAt(prefix, "drainWorker"),
    tags: ["Operations"],
    summary: "Drain a worker",
    description:
      "As SIGTERM does: the worker claims nothing more, lets steps finish for WORKER_DRAIN_SECONDS, hands the rest back and ends with " +
      "status 0. The supervisor of the process decides whether a new one is started. The request is kept until the worker reads it.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), audited("drainWorker")] as const,
    request: { params: WorkerName },
    responses: { 202: json(Draining, "The worker reads the request within a second"), ...problems(404, 409) },
  });

export const drainWorker = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql, hintWorkers, waitUntil } = c.get("services");
    const worker = await findWorker(sql, c.req.valid("param").id);
    if (!worker) throw noWorkerOfName();
    const incarnations = await requestDrain(sql, c.req.valid("param").id);
    if (incarnations.length === 0) throw new AppError("conflict", "This worker is offline.");
    waitUntil(hintWorkers(incarnations));
    return c.json({ status: "draining" as const, worker_id: worker.worker_id, incarnations }, 202);
  });
};
