import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { AppError } from "../../../shared/errors.ts";
import { queueShardOf } from "../../../shared/keys.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import type { Queue } from "../../../shared/queue/queue.ts";
import { readRunFacts } from "../../../shared/store/runs/run-facts.ts";
import { json, problems } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { explain } from "../../runs/explain.ts";
import { Diagnosis } from "../../runs/diagnosis-view.ts";
import type { QueueState } from "../../runs/diagnosis-view.ts";
import { needs } from "../../http/middleware/principal.ts";
import { noRun } from "../../runs/run-view.ts";

const route = createRoute({
  method: "get",
  path: "/api/v2/orchestrations/runs/{run_id}/why",
  operationId: "explainRun",
  tags: ["Runs"],
  summary: "Why a run does not progress",
  description:
    "`sentence` is for people, `reason` and `blocked_by` are for programs. 200 for every run, also an ended one.",
  security: [{ key: ["runs:read"] }],
  middleware: [needs("runs:read")] as const,
  request: { params: z.object({ run_id: RunId }) },
  responses: { 200: json(Diagnosis, "The reason"), ...problems(404) },
});

export function explainRun(api: Api): void {
  api.openapi(route, async (c) => {
    const { sql, queue, config } = c.get("services");
    const facts = await readRunFacts(sql, c.get("principal").tenant, c.req.valid("param").run_id);
    if (!facts) throw noRun();
    const state = facts.status === "queued" ? await stateOf(queue, TenantId.parse(facts.tenant_id)) : "up";
    return c.json(explain(facts, state, config.ENABLE_TENANT_ISOLATION), 200);
  });
}

/** The state of the queue shard of a tenant. */
async function stateOf(queue: Queue, tenant: TenantId): Promise<QueueState> {
  try {
    const { quotaReady } = await queue.readIndex(queueShardOf(tenant, queue.shards));
    return quotaReady ? "up" : "rebuilding";
  } catch (error) {
    if (error instanceof ColdError) return "rebuilding";
    if (error instanceof AppError && error.code === "redis_away") return "away";
    throw error;
  }
}
