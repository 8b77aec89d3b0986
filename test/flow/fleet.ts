/** A database, a Redis and worker processes of a test's own: everything but the edge. */
import { newRun } from "../services/new-run.ts";
import { Redis } from "ioredis";
import postgres from "postgres";
import { test as base } from "vitest";
import { z } from "zod";
import { TenantId, newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { TERMINAL } from "../../shared/contracts/run.ts";
import { scoreOf } from "../../shared/queue/job.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { saveOrchestration } from "../../shared/store/definitions/orchestrations.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { readRun } from "../../shared/store/runs/read-runs.ts";
import type { RunRow } from "../../shared/store/runs/read-runs.ts";
import { testConnection } from "../services/databases.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { freshDatabase, startRedis } from "../services/services.ts";
import { builtWorker } from "../services/built-worker.ts";
import { linesOf } from "../../shared/events/lines.ts";
import { spawnWorker } from "../services/worker-process.ts";
import type { Timing, WorkerProcess } from "../services/worker-process.ts";
import { until } from "../services/waiting.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { expectDocumentedEvents } from "./documented-events.ts";

export type Fleet = Awaited<ReturnType<typeof startFleet>>;

const acme = TenantId.parse("acme");

/** A test with a fleet of its own, so that the tests of a file can run at the same time. */
export const fleetTest = base.extend<{ timing: Timing; fleet: Fleet }>({
  timing: "short",
  fleet: async ({ timing }, use) => {
    const fleet = await startFleet(timing);
    try {
      await use(fleet);
    } finally {
      await fleet.close();
    }
  },
});

/**
 * Starts the stores; `close` ends everything, also the workers.
 * @param timing the durations of all its workers
 * @param programOf the arguments of a worker's Node process
 */
export async function startFleet(
  timing: Timing = "short",
  programOf: (timing: Timing) => string[] | Promise<string[]> = builtWorker,
) {
  const [databaseUrl, redisService] = await Promise.all([freshDatabase(), startRedis()]);
  const sql: Sql = postgres(databaseUrl, { ...testConnection, max: 5 });
  const redis = new Redis(redisService.url, { protocol: 2, maxRetriesPerRequest: 1 });
  redis.on("error", () => {});
  const queue = new Queue(scriptCommands(redis), 1);
  await sql`insert into tenants (tenant_id, name) values (${acme}, 'Acme')`;
  const workers: WorkerProcess[] = [];

  return {
    sql,
    redis,
    queue,
    databaseUrl,
    redisUrl: redisService.url,
    workers,

    async startWorker(id: string, env: Record<string, string> = {}): Promise<WorkerProcess> {
      const stores = { REDIS_URL: redisService.url, SCALE_POSTGRES_URL: databaseUrl };
      const program = await programOf(timing);
      const worker = spawnWorker(
        id,
        { ...stores, WORKER_HEALTH_PORT: "0", SHORT_EVENT_LINES: "2", ...env },
        program,
      );
      workers.push(worker);
      await worker.untilLogged("worker.ready");
      return worker;
    },

    async define(definition: JsonObject & { id: string }): Promise<void> {
      await saveOrchestration(sql, acme, {
        id: definition.id,
        name: definition.id,
        description: "",
        definition: JSON.stringify(definition),
      });
    },

    /** Accepts a run and enqueues it, as the edge does. */
    async run(orchestration: string, message = "hello", tenant = acme): Promise<RunId> {
      const run_id = newRunId(Date.now());
      const accepted = await acceptRuns(sql, [
        newRun({
          run_id,
          tenant_id: tenant,
          orchestration_id: orchestration,
          input: JSON.stringify({ message, state: {} }),
        }),
      ]);
      const queuedAtMs = accepted.get(run_id)?.queued_at_ms;
      if (queuedAtMs === undefined) throw new Error(`${orchestration} was not accepted`);
      const job = { run: run_id, tenant, lane: "default" as const, score: scoreOf(queuedAtMs, 0) };
      await queue.enqueue([{ ...job, status: "queued", delayMs: 0 }]).catch(() => {});
      return run_id;
    },

    /** Waits for the end of the run. @returns its row */
    async ended(run: RunId): Promise<RunRow> {
      const rows: RunRow[] = [];
      const isEnded = async () => {
        const row = await readRun(sql, null, run);
        if (row) rows.splice(0, 1, row);
        return row !== null && TERMINAL.has(row.status);
      };
      const detail = () => `: ${JSON.stringify(rows)}\n${this.logs()}`;
      await until(`${run} has ended`, isEnded, undefined, detail);
      const [ended] = rows;
      if (!ended) throw new Error(`there is no ${run}`);
      return ended;
    },

    /** All events of a run, in order, as viewers get them (without run_id and seq). */
    async events(run: RunId): Promise<{ type: string; [field: string]: unknown }[]> {
      const rows = await sql<
        { events: string }[]
      >`select events from journal where run_id = ${run} order by seq`;
      const Event = z.object({ type: z.string() }).loose();
      return rows.flatMap((row) => linesOf(row.events).map((line) => Event.parse(JSON.parse(line))));
    },

    /** All that the workers have logged. */
    logs(): string {
      return workers.flatMap(({ lines }) => lines.map((line) => JSON.stringify(line))).join("\n");
    },

    async close(): Promise<void> {
      await Promise.all(workers.map((worker) => worker.stop("SIGKILL")));
      try {
        await expectDocumentedEvents(sql);
      } finally {
        redis.disconnect();
        await sql.end({ timeout: 1 });
        await redisService.stop();
      }
    },
  };
}
