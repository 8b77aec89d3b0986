import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { Lane } from "../../../shared/contracts/run.ts";
import { countDeadLetters } from "../../../shared/store/runs/dead-letters.ts";
import { countLanes } from "../../../shared/store/runs/lane-counts.ts";
import type { LaneCounts } from "../../../shared/store/runs/lane-counts.ts";
import { readLanes } from "../../../shared/store/lanes/lane-rows.ts";
import { json, operationIdAt, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needsPlatform } from "../../http/middleware/principal.ts";
import { LaneSettingsView, viewOfLane } from "../../operations/lane-view.ts";

const count = z.number().int();

const QueueOfLanes = z
  .object({
    available: z.literal(true),
    queued: count,
    active: count,
    failed: count,
    /** Dead letters that were neither retried nor dismissed. */
    dlq_count: count,
    lanes: z.record(
      Lane,
      z.object({
        waiting: count,
        active: count,
        completed: count,
        failed: count,
        delayed: count,
        total: count,
        settings: LaneSettingsView,
      }),
    ),
  })
  .meta({ id: "QueueOfLanes" });

const routeAt = (prefix: string) =>
  createRoute({
    method: "get",
    path: `${prefix}/queue`,
    operationId: operationIdAt(prefix, "getQueue"),
    tags: ["Operations"],
    summary: "Count the runs of each lane, and read its settings",
    description:
      "`waiting`: queued and due; `delayed`: queued for later; `active`: running; `completed` and `failed`: ended in the last 24 hours; " +
      "`total`: their sum. Read from Postgres: also while Redis is away. At most 200,000 queued runs are counted, and the latest " +
      "100,000 that ended. In the lane `webhooks` deliveries are counted, in the same way. " +
      "`settings`: what holds, with the default and the origin of each value; `PATCH …/queue/{lane}` changes it.",
    security: [{ key: ["admin"] }],
    middleware: [needsPlatform("admin")] as const,
    responses: { 200: json(QueueOfLanes, "The counts"), ...problems() },
  });

export const getQueue = (prefix: string) => (api: Api) => {
  api.openapi(routeAt(prefix), async (c) => {
    const { sql } = c.get("services");
    const [rows, changed, dlq_count] = await Promise.all([
      countLanes(sql),
      readLanes(sql),
      countDeadLetters(sql, { tenant: null, orchestration: null, code: null }),
    ]);
    const sum = (of: (row: LaneCounts) => number) => rows.reduce((total, row) => total + of(row), 0);
    const lanes = rows.map(({ lane, ...counts }) => {
      const total = Object.values(counts).reduce((all, n) => all + n, 0);
      return [lane, { ...counts, total, settings: viewOfLane(lane, changed) }];
    });
    return c.json(
      {
        available: true as const,
        queued: sum(({ waiting, delayed }) => waiting + delayed),
        active: sum(({ active }) => active),
        failed: sum(({ failed }) => failed),
        dlq_count,
        lanes: QueueOfLanes.shape.lanes.parse(Object.fromEntries(lanes)),
      },
      200,
    );
  });
};
