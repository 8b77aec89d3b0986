import type { BenchEdge } from "./edge.ts";
import { QUOTA_READY_AFTER_MS } from "../../shared/timing.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { newRunId } from "../../shared/contracts/ids.ts";
import type { Orchestration } from "./definition.ts";
import { loadRows, requestBytes, sendFor } from "./load.ts";
import { acceptBenchRuns } from "./runs.ts";
import type { Row } from "./stats.ts";

export const CLIENTS = 64;

/** POST to 202 by 64 clients: each response stands for a committed run. No worker runs meanwhile. */
export async function benchRequests({ port, key, watched, queue }: BenchEdge): Promise<Row[]> {
  await sendFor({ port, clients: 1, request: runRequest(key), status: 202 }, 100);
  // A new intake object makes the index count anew. Here the index becomes quota ready, as by the reconciler's next scans.
  await makeQuotaReady(queue, 0, Date.now() + QUOTA_READY_AFTER_MS);
  return loadRows(
    `POST to 202, ${CLIENTS} clients`,
    { port, clients: CLIENTS, request: runRequest(key), status: 202 },
    watched,
    { perSecond: ">= 1500", p99: "<= 60" },
  );
}

/** `GET …/status` by 64 clients, beside a route that needs neither a key nor Postgres. Each response must be 200. */
export async function benchStatus(sql: Sql, { port, key, watched }: BenchEdge): Promise<Row[]> {
  const run = newRunId(Date.now());
  await acceptBenchRuns(sql, [run]);
  const livez = { port, clients: CLIENTS, request: requestBytes("GET", "/livez", {}), status: 200 };
  const { workerd } = watched;
  return [
    ...(await loadRows(`GET /livez, ${CLIENTS} clients`, livez, workerd ? { workerd } : {})),
    ...(await loadRows(
      `GET …/status, ${CLIENTS} clients`,
      { ...livez, request: statusRequest(key, run) },
      watched,
    )),
  ];
}

export function statusRequest(key: string, run: string): Buffer {
  const path = `/api/v2/orchestrations/runs/${run}/status`;
  return requestBytes("GET", path, { authorization: `Bearer ${key}` });
}

/** A request that starts an orchestration of the bench, with a small body. */
export function runRequest(key: string, orchestration: Orchestration = "orch_bench"): Buffer {
  return requestBytes(
    "POST",
    `/api/v2/orchestrations/${orchestration}/run`,
    { authorization: `Bearer ${key}`, "content-type": "application/json" },
    JSON.stringify({ message: "Write about the sea", metadata: { order: 4711 }, state: { tone: "calm" } }),
  );
}
