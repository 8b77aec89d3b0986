import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { AppError } from "../../../shared/errors.ts";
import { findWorker, removeWorker as remove } from "../../../shared/store/workers/worker-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { audited } from "../../http/middleware/audited.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { WorkerName, noWorkerOfName } from "../../operations/worker-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "delete",
    path: `${prefix}/workers/{id}`,
    operationId: operationIdAt(prefix, "removeWorker"),
    tags: ["Operations"],
    summary: "Remove an offline worker from the list",
    description:
      "A worker that is alive, or whose runs were not taken over yet, is not removed (409): drain it first. The id of a worker names " +
      "all its incarnations: while one of them is alive, none is removed. The name of an incarnation removes that one alone.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin"), audited("removeWorker")] as const,
    request: { params: WorkerName },
    responses: {
      200: json(z.object({ status: z.literal("removed"), worker_id: z.string() }), "Removed"),
      ...problems(404, 409),
    },
  });

export const removeWorker = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const worker = await findWorker(sql, c.req.valid("param").id);
    if (!worker) throw noWorkerOfName();
    if ((await remove(sql, c.req.valid("param").id)) === 0) {
      throw new AppError("conflict", "This worker is alive, or owns running runs; drain it first.");
    }
    return c.json({ status: "removed" as const, worker_id: worker.worker_id }, 200);
  });
};
