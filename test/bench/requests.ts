import type { BenchEdge } from "./edge.ts";
import { setTimeout as sleep } from "node:timers/promises";
import { loadRows, requestBytes, run } from "./load.ts";
import type { Row } from "./stats.ts";

export const CLIENTS = 64;

/** A new intake counts in Postgres for so long, as it does not know whether Redis was away before. */
const SETTLE_MS = 16_000;

/** POST to 202 by 64 clients: each answer is a run that is committed. No worker runs meanwhile. */
export async function benchRequests({ port, key, watched }: BenchEdge): Promise<Row[]> {
  await run({ port, clients: 1, request: runRequest(key), status: 202 }, 100);
  await sleep(SETTLE_MS);
  return loadRows(
    `POST to 202, ${CLIENTS} clients`,
    { port, clients: CLIENTS, request: runRequest(key), status: 202 },
    watched,
    { perSecond: ">= 1500", p99: "<= 60" },
  );
}

/** A request to run the bench's orchestration, with a small body. */
export function runRequest(key: string): Buffer {
  return requestBytes(
    "POST",
    "/api/v2/orchestrations/orch_bench/run",
    { authorization: `Bearer ${key}`, "content-type": "application/json" },
    JSON.stringify({ message: "Write about the sea", metadata: { order: 4711 }, state: { tone: "calm" } }),
  );
}
