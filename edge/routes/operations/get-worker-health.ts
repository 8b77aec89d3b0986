import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { findWorker } from "../../../shared/store/workers/worker-rows.ts";
import { elapsedMs } from "../../../shared/tasks/elapsed-ms.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { WorkerName, noWorkerOfName } from "../../operations/worker-view.ts";

/** Longer than the 2 s in which each store of a worker has to answer the worker. */
const ANSWER_MS = 3_000;

const WorkerAnswer = z
  .object({
    status: z.literal("ok"),
    worker_id: z.string(),
    incarnation: z.string(),
    latency_ms: z.number().int(),
    data: z
      .looseObject({ status: z.enum(["ok", "degraded", "draining"]) })
      .meta({ description: "What `/health` of the worker shows at this moment" }),
  })
  .meta({ id: "WorkerAnswer" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/workers/{id}/health`,
    operationId: operationIdAt(prefix, "getWorkerHealth"),
    tags: ["Operations"],
    summary: "Ask a worker for its health",
    description:
      "The question goes through Redis to the newest incarnation of the worker (or to the one that is named), which answers with what " +
      "it finds at this moment. 504 `worker_silent` when it does not answer within 3 s; 503 `redis_away` when it cannot be asked.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    request: { params: WorkerName },
    responses: { 200: json(WorkerAnswer, "The answer"), ...problems(404, 504) },
  });

export const getWorkerHealth = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql, askHealth } = c.get("services");
    const worker = await findWorker(sql, c.req.valid("param").id);
    if (!worker) throw noWorkerOfName();
    const { worker_id, incarnation, beat_at_ms } = worker;
    const silent = (what: string) => {
      const beat = new Date(beat_at_ms).toISOString();
      return new AppError("worker_silent", `The worker ${what}; its last beat was at ${beat}.`);
    };
    if (worker.status === "offline") throw silent("is offline");
    const startedMs = elapsedMs();
    const data = await askHealth(incarnation, ANSWER_MS);
    if (!data) throw silent(`has not answered within ${ANSWER_MS / 1_000} s`);
    const latency_ms = elapsedMs() - startedMs;
    return c.json({ status: "ok" as const, worker_id, incarnation, latency_ms, data }, 200);
  });
};
