import { createRoute } from "@hono/zod-openapi";
import { createMiddleware } from "hono/factory";
import { z } from "zod";
import { keys } from "../../../shared/keys.ts";
import { readCounters } from "../../../shared/store/metrics/counters.ts";
import { readGauges } from "../../../shared/store/metrics/read-gauges.ts";
import type { Gauges } from "../../../shared/store/metrics/read-gauges.ts";
import { sumOfWorkers } from "../../../shared/store/workers/worker-rows.ts";
import type { QueueStats } from "../../../shared/queue/stats.ts";
import { problems } from "../../http/api.ts";
import type { Api, ApiEnv } from "../../http/api.ts";
import { isSameSecret } from "../../http/hmac.ts";
import { bearerKey, needsPlatform } from "../../http/middleware/principal.ts";
import { CONTENT_TYPE, prometheusText } from "../../operations/prometheus-text.ts";
import type { Gauge } from "../../operations/prometheus-text.ts";

/** Requires METRICS_TOKEN, or a platform key with the scope `admin`: the metrics show all tenants. */
const needsMetricsToken = createMiddleware<ApiEnv>(async (c, next) => {
  const { METRICS_TOKEN } = c.get("services").config;
  if (METRICS_TOKEN !== undefined && (await isSameSecret(METRICS_TOKEN, bearerKey(c)))) return next();
  return needsPlatform("admin")(c, next);
});

const route = createRoute({
  method: "get",
  path: "/api/v2/metrics",
  operationId: "getMetrics",
  tags: ["Operations"],
  summary: "Read the metrics of the fleet",
  description:
    "In the text format of Prometheus, for all edges and workers together. The bearer is METRICS_TOKEN, or a platform key with " +
    "the scope `admin`. Runs are counted 15 to 20 s after they were accepted or have ended; what workers count arrives " +
    "every 10 s. Without Redis the gauges of the queue are absent.",
  security: [{ key: ["admin"] }, { metricsToken: [] }],
  middleware: [needsMetricsToken] as const,
  responses: {
    200: { description: "The metrics", content: { [CONTENT_TYPE]: { schema: z.string() } } },
    ...problems(),
  },
});

export function getMetrics(api: Api): void {
  api.openapi(route, async (c) => {
    const services = c.get("services");
    const [counters, workers, queue, ofPostgres] = await Promise.all([
      readCounters(services.sql),
      sumOfWorkers(services.sql),
      services.queue.allStats().catch(() => null),
      readGauges(services.sql),
    ]);
    const gauges: Gauge[] = [
      ...queueGauges(queue),
      ...postgresGauges(ofPostgres),
      gauge("synapse_active_workers", "Workers that are alive", workers.workers),
      gauge("synapse_active_runs", "Runs that these workers execute", workers.active),
      gauge("synapse_slots", "Runs that these workers may execute at once", workers.slots),
    ];
    return c.text(prometheusText(gauges, counters), 200, { "content-type": CONTENT_TYPE });
  });
}

function postgresGauges({ overdue_mails, archive_lag_seconds, file_bytes }: Gauges): Gauge[] {
  const ofTenants = (read: (row: Gauges["file_bytes"][number]) => number | null) =>
    file_bytes.flatMap((row) => {
      const value = read(row);
      return value === null ? [] : [{ labels: { tenant_id: row.tenant_id }, value }];
    });
  return [
    gauge("synapse_mails_overdue", "Mails that have been due for a minute", overdue_mails),
    gauge(
      "synapse_archive_lag_seconds",
      "The longest time that a journal has been waiting beyond the time at which it should have been archived",
      archive_lag_seconds,
    ),
    {
      name: "synapse_artifact_bytes",
      help: "Bytes of a tenant's files, of the thousand tenants that have the most",
      values: ofTenants(({ bytes }) => bytes),
    },
    {
      name: "synapse_artifact_bytes_limit",
      help: "The most bytes of these files, of tenants that have a limit",
      values: ofTenants(({ most }) => most),
    },
  ];
}

function gauge(name: string, help: string, value: number): Gauge {
  return { name, help, values: [{ labels: {}, value }] };
}

/** `shards`: null while Redis cannot be reached or a shard is being rebuilt. */
function queueGauges(shards: readonly QueueStats[] | null): Gauge[] {
  const up = gauge("synapse_queue_up", "1 while the queue can be counted", shards === null ? 0 : 1);
  if (shards === null) return [up];
  const sum = (of: "ready" | "due" | "timer") => shards.reduce((total, stats) => total + stats[of], 0);
  return [
    up,
    {
      name: "synapse_queue_depth",
      help: "Runs that are ready and that no worker has claimed",
      values: shards.map((stats, shard) => ({
        labels: { queue_name: keys.ready(shard) },
        value: stats.ready,
      })),
    },
    gauge("queue_waiting_jobs", "The sum of synapse_queue_depth, for an autoscaler", sum("ready")),
    gauge("synapse_queue_delayed_runs", "Runs that are queued for a later time", sum("due")),
    gauge("synapse_queue_paused_runs", "Runs that wait for an answer, a timer or another run", sum("timer")),
  ];
}
