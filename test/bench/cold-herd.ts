import { once } from "node:events";
import type { Socket } from "node:net";
import { newRunId } from "../../shared/contracts/ids.ts";
import { startBenchEdge } from "./edge.ts";
import { connected } from "./load.ts";
import { runRequest, statusRequest } from "./requests.ts";
import { acceptBenchRuns } from "./runs.ts";
import { quantile } from "./stats.ts";
import type { Row } from "./stats.ts";

const FIRST = 64;
const POLLERS = 300;
const POLLS = 10;

type Answer = { status: number; ms: number };

/** The first requests at an edge that has just started, and one client that polls 300 runs at once. None may be refused. */
export async function benchColdHerd(
  dir: string,
  stores: Parameters<typeof startBenchEdge>[2],
): Promise<Row[]> {
  const edge = await startBenchEdge(dir, "cold", stores);
  try {
    const first = await allAtOnce(edge.port, Array<Buffer>(FIRST).fill(runRequest(edge.key)));
    const runs = Array.from({ length: POLLERS }, () => newRunId(Date.now()));
    await acceptBenchRuns(stores.sql, runs);
    const polls = runs.map((run) => statusRequest(edge.key, run));
    const polled: Answer[] = [];
    for (let i = 0; i < POLLS; i++) polled.push(...(await allAtOnce(edge.port, polls)));
    return [
      ...rowsOf(`cold edge: ${FIRST} first POSTs at once`, first, 202),
      ...rowsOf(`${POLLERS} runs polled at once, ${POLLS} times`, polled, 200),
    ];
  } finally {
    await edge.stop();
  }
}

function rowsOf(what: string, answers: readonly Answer[], status: number): Row[] {
  const refused = answers.filter((answer) => answer.status !== status).length;
  const p99 = quantile(
    answers.map(({ ms }) => ms),
    0.99,
  );
  return [
    { what: `${what}: not ${status}`, figure: refused, unit: "answers", most: 0 },
    { what: `${what}, p99`, figure: p99, unit: "ms" },
  ];
}

/** Sends each request on a connection of its own, all at the same time. */
async function allAtOnce(port: number, requests: readonly Buffer[]): Promise<Answer[]> {
  const sockets = await Promise.all(requests.map(() => connected(port)));
  const startedMs = performance.now();
  try {
    return await Promise.all(
      sockets.map(async (socket, i) => {
        socket.write(requests[i] ?? "");
        return { status: await statusOf(socket), ms: performance.now() - startedMs };
      }),
    );
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

async function statusOf(socket: Socket): Promise<number> {
  const [bytes]: Buffer[] = await once(socket, "data", { signal: AbortSignal.timeout(30_000) });
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(bytes?.toString("latin1") ?? "")?.[1] ?? NaN);
}
