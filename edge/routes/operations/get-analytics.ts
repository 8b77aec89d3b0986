import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { RunStatus } from "../../../shared/contracts/run.ts";
import { readRunStatistics } from "../../../shared/store/runs/run-statistics.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs, tenantFilterOf } from "../../http/middleware/principal.ts";

const Analytics = z
  .object({
    available: z.literal(true),
    total_runs: z.number().int(),
    runs_today: z.number().int(),
    status_counts: z.record(RunStatus, z.number().int()),
    /** The percentage of runs that completed; null: there is no run. */
    success_rate: z.number().nullable(),
    avg_cost_usd: z.number().nullable(),
    total_cost_usd_today: z.number(),
    /** The average of completed runs, from the first claim to the end. */
    avg_duration_seconds: z.number().nullable(),
    /** Null: providers' cached tokens are not recorded. */
    cache_hit_rate: z.null(),
    workers_online: z.number().int(),
  })
  .meta({ id: "Analytics" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/analytics`,
    operationId: operationIdAt(prefix, "getAnalytics"),
    tags: ["Operations"],
    summary: "Read figures of all runs",
    description:
      "Of the key's tenant, or of `tenant_id`, or of all. A day is one of UTC. Each status is counted up to a million runs; the figures of " +
      "today are those of the latest 100,000 runs, the averages those of the latest 10,000 completed runs.",
    security: [{ key: ["admin"] }],
    middleware: [needs("admin")] as const,
    request: { query: z.object({ tenant_id: TenantId.optional() }) },
    responses: { 200: json(Analytics, "The figures"), ...problems() },
  });

export const getAnalytics = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const tenant = tenantFilterOf(c.get("principal"), c.req.valid("query").tenant_id);
    const read = await readRunStatistics(c.get("services").sql, tenant);
    const { status_counts, runs_today, avg_duration_seconds, avg_cost_micro_usd, workers_online } = read;
    const total_runs = Object.values(status_counts).reduce((sum, n) => sum + n, 0);
    return c.json(
      {
        available: true as const,
        total_runs,
        runs_today,
        status_counts,
        success_rate:
          total_runs === 0 ? null : Math.round((status_counts.completed / total_runs) * 1_000) / 10,
        avg_cost_usd: avg_cost_micro_usd === null ? null : avg_cost_micro_usd / 1_000_000,
        total_cost_usd_today: read.cost_micro_usd_today / 1_000_000,
        avg_duration_seconds,
        cache_hit_rate: null,
        workers_online,
      },
      200,
    );
  });
};
