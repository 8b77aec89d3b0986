import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json, problemsAlone } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { ColdError } from "../../../shared/queue/scripts.ts";
import { readStuckCounts } from "../../../shared/store/runs/stuck-counts.ts";
import { StoreCause, storeFaultOf } from "../../../shared/store/store-cause.ts";
import { withinOrNull } from "../../../shared/tasks/within-or-null.ts";
import { elapsedMs } from "../../../shared/tasks/elapsed-ms.ts";
import type { Config } from "../../env.ts";
import type { Services } from "../../services.ts";

/** Work that does not progress by itself: 0 in a healthy system, except `unclaimed`, which a backlog raises too. */
const Stuck = z.object({
  overdue: z.number().int(),
  owner_silent: z.number().int(),
  unclaimed: z.number().int(),
  /** Lanes with due runs and without a worker that serves the lane. */
  no_worker: z.array(z.object({ lane: Lane, runs: z.number().int() })),
  /** Webhook deliveries that have been due for a minute, and that no worker sends. */
  undelivered: z.number().int(),
});

const Health = z
  .object({
    status: z.enum(["ok", "degraded"]),
    pg_connected: z.boolean(),
    redis_connected: z.boolean(),
    /** Why a store is not connected; a connected store has no cause. */
    causes: z.object({ postgres: StoreCause.optional(), redis: StoreCause.optional() }),
    /** Null: Postgres could not be queried. */
    stuck: Stuck.nullable(),
  })
  .meta({ id: "Health" });
type Health = z.infer<typeof Health>;

const overall = createRoute({
  method: "get",
  path: "/health",
  operationId: "getHealth",
  tags: ["Operations"],
  security: [],
  summary: "Whether the stores are reachable and all work progresses",
  responses: {
    200: json(
      Health,
      "The health: `degraded` when a store is unreachable or a count in `stuck` needs attention",
    ),
    ...problemsAlone(422),
  },
});

const livez = createRoute({
  method: "get",
  path: "/livez",
  operationId: "getLiveness",
  tags: ["Operations"],
  security: [],
  summary: "Whether this process responds",
  responses: { 200: json(z.object({ status: z.literal("ok") }), "It responds"), ...problemsAlone(422) },
});

const readyz = createRoute({
  method: "get",
  path: "/readyz",
  operationId: "getReadiness",
  tags: ["Operations"],
  security: [],
  summary: "Whether this edge can serve requests",
  description:
    "200 while it can, also without a store that it can do without: then `status` is `degraded`. It cannot without " +
    "Postgres, nor without Redis when ACCEPT_WHEN_REDIS_DOWN is 0.",
  responses: { 200: json(Health, "Ready"), 503: json(Health, "Not ready"), ...problemsAlone(422) },
});

export function health(api: Api): void {
  api.openapi(overall, async (c) => {
    const stores = await readHealth(c.get("services"));
    const status = isStuck(stores.stuck) ? ("degraded" as const) : stores.status;
    return c.json({ ...stores, status }, 200);
  });
  api.openapi(livez, (c) => c.json({ status: "ok" as const }, 200));
  api.openapi(readyz, async (c) => {
    const services = c.get("services");
    const stores = await readHealth(services);
    return c.json(stores, canServe(stores, services.config) ? 200 : 503);
  });
}

function canServe({ pg_connected, redis_connected }: Health, config: Config): boolean {
  return pg_connected && (redis_connected || config.ACCEPT_WHEN_REDIS_DOWN);
}

/** Whether a count needs attention. `unclaimed` does not: it may be a backlog. */
function isStuck(stuck: z.infer<typeof Stuck> | null): boolean {
  if (stuck === null) return false;
  return stuck.overdue + stuck.owner_silent + stuck.no_worker.length + stuck.undelivered > 0;
}

/** A check of the stores is shared by all requests that come within this time: the routes need no key. */
const FRESH_MS = 1_000;

/** The runtime may have ended the request that makes the shared check: after this time another request makes its own. */
const SHARED_MS = 2_000;

const checks = new WeakMap<Config, { startedMs: number; health: Promise<Health> }>();

async function readHealth(services: Services): Promise<Health> {
  const { config, waitUntil } = services;
  const last = checks.get(config);
  if (last && elapsedMs() - last.startedMs < FRESH_MS) {
    const shared = await withinOrNull(last.health, SHARED_MS);
    if (shared) return shared;
  }
  const check = checkStores(services);
  checks.set(config, { startedMs: elapsedMs(), health: check });
  waitUntil(check);
  return check;
}

/** Queries both stores, each for at most 1.5 s. Its `status` depends on their reachability alone, not on `stuck`. */
async function checkStores({ sql, queue }: Services): Promise<Health> {
  let stuck: z.infer<typeof Stuck> | null = null;
  const [postgres, redis] = await Promise.all([
    storeFaultOf(async () => (stuck = await readStuckCounts(sql)), TIMEOUT_MS),
    storeFaultOf(() => queue.stats(0).catch(acceptCold), TIMEOUT_MS),
  ]);
  return {
    status: postgres === null && redis === null ? "ok" : "degraded",
    pg_connected: postgres === null,
    redis_connected: redis === null,
    causes: { ...(postgres && { postgres }), ...(redis && { redis }) },
    stuck,
  };
}

const TIMEOUT_MS = 1_500;

/** A cold queue is reachable: its Redis has replied. */
function acceptCold(error: unknown): void {
  if (!(error instanceof ColdError)) throw error;
}
