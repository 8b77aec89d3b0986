import type { BenchEdge } from "./edge.ts";
import { QUOTA_READY_AFTER_MS } from "../../shared/timing.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { loadRows, requestBytes, sendFor } from "./load.ts";
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

/** A request that starts the bench's orchestration, with a small body. */
export function runRequest(key: string): Buffer {
  return requestBytes(
    "POST",
    "/api/v2/orchestrations/orch_bench/run",
    { authorization: `Bearer ${key}`, "content-type": "application/json" },
    JSON.stringify({ message: "Write about the sea", metadata: { order: 4711 }, state: { tone: "calm" } }),
  );
}
