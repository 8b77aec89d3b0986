import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import type { Principal } from "../../../shared/contracts/tenant.ts";
import { AppError } from "../../../shared/errors.ts";
import { keys } from "../../../shared/keys.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import type { Queue } from "../../../shared/queue/queue.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { needs } from "../../http/middleware/principal.ts";

const QueueStats = z
  .object({
    queue_name: z.string(),
    queued: z.number().int(),
    active: z.number().int(),
    delayed: z.number().int().optional(),
    waiting: z.number().int().optional(),
  })
  .meta({ id: "QueueStats" });

const route = createRoute({
  method: "get",
  path: "/api/v2/queue/stats",
  operationId: "getQueueStats",
  tags: ["Operations"],
  summary: "Read the depth of the queue",
  description:
    "`queued`: runs that are ready; `active`: running; `delayed`: queued for a later time; `waiting`: paused. " +
    "A tenant's key gets the counts of its tenant only: `queued` (delayed runs included) and `active`.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  responses: { 200: json(QueueStats, "The counts"), ...problems() },
});

export function getQueueStats(api: Api): void {
  api.openapi(route, async (c) => {
    try {
      const counts = await count(c.get("services").queue, c.get("principal"));
      return c.json({ queue_name: keys.ready(0), ...counts }, 200);
    } catch (error) {
      if (!(error instanceof ColdError)) throw error;
      throw new AppError("rebuilding", "The queue is being rebuilt; try again in a moment.", {
        retryAfterSeconds: 3,
      });
    }
  });
}

async function count(queue: Queue, { tenant }: Principal) {
  if (tenant !== null) {
    const { queuedOrReserved, active } = await queue.tenantStats(tenant);
    return { queued: queuedOrReserved, active };
  }
  const shards = await queue.allStats();
  const sum = (of: "ready" | "leased" | "due" | "timer") =>
    shards.reduce((total, shard) => total + shard[of], 0);
  return { queued: sum("ready"), active: sum("leased"), delayed: sum("due"), waiting: sum("timer") };
}
