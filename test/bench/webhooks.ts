import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { newIncarnation, newRunId } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { flush } from "../../shared/store/journal/flush.ts";
import { acceptRuns } from "../../shared/store/runs/accept-runs.ts";
import { claimRuns } from "../../shared/store/runs/claim-runs.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { benchRun } from "./runs.ts";
import type { Stores } from "./runs.ts";
import type { Row } from "./stats.ts";

const DELIVERIES = 2_000;
/** A worker has at most 16 open requests for one receiver, and 32 for one tenant. */
const RECEIVERS = 4;
const PAGE = 100;

/** How fast one worker sends the deliveries of runs that have ended, to receivers that answer at once: from the first request to the last. */
export async function benchWebhooks({ sql, postgres, redisService }: Stores): Promise<Row[]> {
  const requests = { count: 0, firstMs: 0, ids: new Set<string>() };
  const { promise: sent, resolve } = Promise.withResolvers<number>();
  const receivers = await Promise.all(
    Array.from({ length: RECEIVERS }, async () => {
      const receiver = createServer((request, response) => {
        requests.firstMs ||= performance.now();
        requests.count += 1;
        requests.ids.add(String(request.headers["webhook-id"]));
        request.resume().on("end", () => response.end());
        if (requests.ids.size === DELIVERIES) resolve(performance.now());
      }).listen(0, "127.0.0.1");
      await once(receiver, "listening");
      return receiver;
    }),
  );
  await makeDue(sql, receivers);
  const worker = spawnWorker("webhooks", {
    REDIS_URL: redisService.url,
    SCALE_POSTGRES_URL: postgres.url,
    WORKER_HEALTH_PORT: "0",
    EVENT_SHARDS: "1",
    EGRESS_ALLOW: "127.0.0.1",
  });
  try {
    const seconds = ((await sent) - requests.firstMs) / 1_000;
    return [
      { what: "webhooks sent, 1 worker", figure: DELIVERIES / seconds, unit: "req/s" },
      { what: "  requests for each delivery", figure: requests.count / DELIVERIES, unit: "" },
    ];
  } finally {
    await worker.stop("SIGTERM");
    for (const receiver of receivers) receiver.close();
  }
}

/** Ends as many runs, each with a delivery that is due. */
async function makeDue(sql: Sql, receivers: readonly Server[]): Promise<void> {
  const owner = newIncarnation("webhooks");
  for (let at = 0; at < DELIVERIES; at += PAGE) {
    const runs = Array.from({ length: PAGE }, (_, i) => ({
      ...benchRun(newRunId(Date.now()), "orch_bench"),
      webhook_url: `http://127.0.0.1:${receivers.map(portOf)[i % RECEIVERS]}/hook`,
    }));
    await acceptRuns(sql, runs);
    await endAll(
      sql,
      owner,
      runs.map(({ run_id }) => run_id),
    );
  }
}

async function endAll(sql: Sql, owner: ReturnType<typeof newIncarnation>, runs: RunId[]): Promise<void> {
  const claimed = await claimRuns(sql, owner, runs);
  const committed = await flush(
    sql,
    claimed.map(({ run_id, attempt, event_seq }) => ({
      kind: "end",
      run_id,
      attempt,
      owner,
      known_seq: event_seq,
      status: "completed",
      step_path: null,
      visit: null,
      output: JSON.stringify({ status: "completed", checkpoint: null, response: "done", error: null }),
      events: '{"type":"done","ts":"2026-11-30T00:00:00.000Z","correlation_id":"bench"}',
      events_n: 1,
      usage: [],
      earlier: [],
      error: null,
      dead_letter: null,
    })),
  );
  if (committed.length !== runs.length)
    throw new Error(`${committed.length} of ${runs.length} runs have ended`);
}
