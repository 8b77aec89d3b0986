import type { BenchEdge } from "./edge.ts";
import { loadRows, requestBytes } from "./load.ts";
import type { Row } from "./stats.ts";

const CLIENTS = 64;

/** POST → 202 with 64 clients: each answer is a run that is committed. No worker runs meanwhile. */
export function benchRequests(edge: BenchEdge): Promise<Row[]> {
  const request = requestBytes(
    "POST",
    "/api/v2/orchestrations/orch_bench/run",
    { authorization: `Bearer ${edge.key}`, "content-type": "application/json" },
    JSON.stringify({ message: "Write about the sea", metadata: { order: 4711 }, state: { tone: "calm" } }),
  );
  return loadRows(
    `POST to 202, ${CLIENTS} clients`,
    { port: edge.port, clients: CLIENTS, request, status: 202 },
    edge.watched,
    {
      perSecond: ">= 1500",
      p99: "<= 60",
    },
  );
}
