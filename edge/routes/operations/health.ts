import { createRoute } from "@hono/zod-openapi";
import { z } from "zod";
import { json } from "../../http/api.ts";
import type { Api } from "../../http/api.ts";
import { Lane } from "../../../shared/contracts/run.ts";
import { ColdError } from "../../../shared/queue/shard-scripts.ts";
import { readStuck } from "../../../shared/store/runs/diagnostics.ts";
import type { Services } from "../../services.ts";

/** What does not move by itself: 0 in a healthy system, but for `unclaimed`, which a backlog raises too. */
const Stuck = z.object({
  overdue: z.number().int(),
  owner_silent: z.number().int(),
  unclaimed: z.number().int(),
  /** Lanes with due runs and without a worker that could take them. */
  no_worker: z.array(z.object({ lane: Lane, runs: z.number().int() })),
  /** Webhooks that have been due for a minute, and that no worker sends. */
  untold: z.number().int(),
});

const Health = z
  .object({
    status: z.enum(["ok", "degraded"]),
    pg_connected: z.boolean(),
    redis_connected: z.boolean(),
    /** Null: Postgres could not be asked. */
    stuck: Stuck.nullable(),
  })
  .meta({ id: "Health" });

const overall = createRoute({
  method: "get",
  path: "/health",
  summary: "Can Postgres and Redis be reached, and does all move?",
  responses: {
    200: json(Health, "How it is: degraded when a store is away or something in `stuck` needs help"),
  },
});

const livez = createRoute({
  method: "get",
  path: "/livez",
  summary: "Does this process answer?",
  responses: { 200: json(z.object({ status: z.literal("ok") }), "It does") },
});

const readyz = createRoute({
  method: "get",
  path: "/readyz",
  summary: "May requests be sent here? About the stores only",
  responses: { 200: json(Health, "Yes"), 503: json(Health, "Not now") },
});

export function health(api: Api): void {
  api.openapi(overall, async (c) => {
    const found = await look(c.get("services"));
    return c.json({ ...found, status: hasTrouble(found.stuck) ? ("degraded" as const) : found.status }, 200);
  });
  api.openapi(livez, (c) => c.json({ status: "ok" as const }, 200));
  api.openapi(readyz, async (c) => {
    const found = await look(c.get("services"));
    return c.json(found, found.status === "ok" ? 200 : 503);
  });
}

/** A backlog, which `unclaimed` may be, is no trouble. */
function hasTrouble(stuck: z.infer<typeof Stuck> | null): boolean {
  if (stuck === null) return false;
  return stuck.overdue + stuck.owner_silent + stuck.no_worker.length + stuck.untold > 0;
}

/** Asks both stores, each for at most 1.5 s. `status` is about them alone. */
async function look({ sql, queue }: Services): Promise<z.infer<typeof Health>> {
  let stuck: z.infer<typeof Stuck> | null = null;
  const [pg_connected, redis_connected] = await Promise.all([
    answers(async () => (stuck = await readStuck(sql))),
    answers(() => queue.stats(0)),
  ]);
  return {
    status: pg_connected && redis_connected ? "ok" : "degraded",
    pg_connected,
    redis_connected,
    stuck,
  };
}

const LOOK_MS = 1_500;

async function answers(ask: () => Promise<unknown>): Promise<boolean> {
  const timeout = new Promise<boolean>((resolve) => setTimeout(resolve, LOOK_MS, false));
  const answer = ask().then(
    () => true,
    // A cold queue is in reach: it says so.
    (error: unknown) => error instanceof ColdError,
  );
  return Promise.race([answer, timeout]);
}
