import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";
import { linkNext } from "../../http/paging.ts";
import { RunListQuery, pageOfRuns } from "../../runs/run-list.ts";
import { RunSummary } from "../../runs/run-view.ts";

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/runs`,
    operationId: operationIdAt(prefix, "listRunsOfTenants"),
    tags: ["Operations"],
    summary: "List runs, as an array",
    description: "The same runs as `/api/v2/orchestrations/runs`. The header `Link` has the next page.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: RunListQuery },
    responses: { 200: json(z.array(RunSummary), "The runs"), ...problems(400) },
  });

export const listRunsAt = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const { runs, cursor } = await pageOfRuns(sql, c.get("principal"), c.req.valid("query"), c.req.query());
    linkNext(c, cursor);
    return c.json(runs, 200);
  });
};
