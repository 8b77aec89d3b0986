import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { listWorkers as list } from "../../../shared/store/workers/worker-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, needsPlatform } from "../../http/middleware/principal.ts";
import { WorkerView, workerViewOf } from "../../operations/worker-view.ts";

const responses = {
  200: json(z.array(WorkerView), "One entry for each life of a process, the newest first"),
  ...problems(),
};

const route = createRoute({
  method: "get",
  path: "/api/v2/workers",
  operationId: "listWorkers",
  tags: ["Operations"],
  summary: "List the workers of the last day",
  description: "A tenant's key sees which workers there are, and not their hosts and loads.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  responses,
});

export function listWorkers(api: Api): void {
  api.openapi(route, async (c) => {
    const rows = await list(c.get("services").sql);
    return c.json(
      rows.map((row) => workerViewOf(row, c.get("principal"))),
      200,
    );
  });
}

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/workers`,
    operationId: operationIdAt(prefix, "listWorkersOfFleet"),
    tags: ["Operations"],
    summary: "List the workers of the last day, for operators",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    responses,
  });

export const listWorkersAt = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const rows = await list(c.get("services").sql);
    return c.json(
      rows.map((row) => workerViewOf(row, c.get("principal"))),
      200,
    );
  });
};
