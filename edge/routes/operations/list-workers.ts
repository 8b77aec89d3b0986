import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { z } from "zod";
import { listWorkers as list } from "../../../shared/store/workers/worker-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { needs, needsPlatform } from "../../http/middleware/principal.ts";
import { PageQuery, linkNext, nextCursor } from "../../http/paging.ts";
import { WorkerView, workerCursorOf, workerPlaceOf, workerViewOf } from "../../operations/worker-view.ts";

const PAGED = "The header `Link` has the next page.";

const responses = {
  200: json(z.array(WorkerView), "One entry for each incarnation of a worker, the newest first"),
  ...problems(400),
};

const route = createRoute({
  method: "get",
  path: "/api/v2/workers",
  operationId: "listWorkers",
  tags: ["Operations"],
  summary: "List the workers of the last day",
  description: `A tenant's key sees which workers there are, and not their hosts and loads. ${PAGED}`,
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { query: PageQuery },
  responses,
});

export function listWorkers(api: Api): void {
  api.openapi(route, async (c) => c.json(await pageOf(c, c.req.valid("query")), 200));
}

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/workers`,
    operationId: operationIdAt(prefix, "listWorkersOfFleet"),
    tags: ["Operations"],
    summary: "List the workers of the last day, for operators",
    description: PAGED,
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    request: { query: PageQuery },
    responses,
  });

export const listWorkersAt = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => c.json(await pageOf(c, c.req.valid("query")), 200));
};

/** A page of workers, with its `Link`. @throws AppError `bad_cursor` */
async function pageOf(
  c: Context<ApiEnv>,
  { cursor, limit }: z.infer<typeof PageQuery>,
): Promise<z.infer<typeof WorkerView>[]> {
  const rows = await list(c.get("services").sql, workerPlaceOf(cursor), limit);
  linkNext(c, nextCursor(rows, limit, workerCursorOf));
  return rows.map((row) => workerViewOf(row, c.get("principal")));
}
