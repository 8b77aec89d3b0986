/** Agents that stream their answers at the same time on one worker, each with a viewer. */
import { once } from "node:events";
import { createServer, get } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { RunId } from "../../shared/contracts/ids.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { spawnDeployedWorker } from "./deployed-worker.ts";
import { cpuMs, withCpu } from "./cpu.ts";
import { makeAgent } from "./definition.ts";
import type { BenchEdge } from "./edge.ts";
import { accept, countEnded, enqueue, untilEnded } from "./runs.ts";
import type { Stores } from "./runs.ts";
import { quantile } from "./stats.ts";
import type { Row } from "./stats.ts";

const AGENTS = 200;
const CHUNKS = 100;
const EVERY_MS = 50;

/**
 * From the beginning of the statement that commits an event, by the clock of Postgres on this machine, until the viewer of the run
 * has received its bytes: so no less than from its commit.
 */
export async function benchStreamingAgents(stores: Stores, edge: BenchEdge): Promise<Row[]> {
  const { sql, queue } = stores;
  const model = await startModel();
  await makeAgent(sql);
  const urls = { redisUrl: stores.redisService.url, postgresUrl: stores.postgres.url };
  const worker = await spawnDeployedWorker("agents", urls, {
    WORKER_CONCURRENCY: String(AGENTS),
    OPENAI_COMPATIBLE_BASE_URL: `http://127.0.0.1:${portOf(model)}/v1`,
  });
  const seen: Seen[] = [];
  const streams: IncomingMessage[] = [];
  try {
    await worker.untilLogged("worker.ready");
    const runs = await accept(sql, AGENTS, "orch_agent");
    for (const run of runs) streams.push(await join(edge, run, seen));
    const closed = streams.map((stream) => once(stream, "close"));
    const ended = await countEnded(sql);
    const watched = { worker: () => cpuMs(worker.pid), ...edge.watched };
    const { usedMs } = await withCpu(watched, async () => {
      await enqueue(queue, runs);
      await untilEnded(sql, ended + AGENTS);
      // The last frames are on their way.
      await Promise.all(closed);
    });
    const what = `commit to client, ${AGENTS} streaming agents, 1 worker`;
    const latencies = await latenciesMs(stores, runs, seen);
    return [
      { what: `${what}, p50`, figure: quantile(latencies, 0.5), unit: "ms" },
      { what: `${what}, p99`, figure: quantile(latencies, 0.99), unit: "ms", mark: "<= 100" },
      { what: "  events that viewers received", figure: latencies.length, unit: "events" },
      ...[...usedMs].map(([name, ms]) => ({
        what: `  processor time of ${name}`,
        figure: (ms * 1_000) / (AGENTS * CHUNKS),
        unit: "us/piece",
      })),
    ];
  } finally {
    for (const stream of streams) stream.destroy();
    await worker.stop("SIGTERM");
    model.closeAllConnections();
    model.close();
  }
}

/** A server in OpenAI's form that writes as a model does. */
async function startModel(): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    request.on("end", () => void answer(response));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function answer(response: ServerResponse): Promise<void> {
  const write = (delta: object, finish_reason: string | null): void => {
    response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
  };
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (let i = 0; i < CHUNKS; i++) {
    write({ content: "a few words of an answer " }, null);
    await sleep(EVERY_MS);
  }
  write({}, "stop");
  response.end(
    `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 1, completion_tokens: 1 } })}\n\n`,
  );
}

/** An event that a viewer received, and when: milliseconds since 1970. */
type Seen = { run: RunId; seq: number; atMs: number };

async function join({ port, key }: BenchEdge, run: RunId, seen: Seen[]): Promise<IncomingMessage> {
  const path = `/api/v2/orchestrations/runs/${run}/stream`;
  const request = get({ port, path, headers: { authorization: `Bearer ${key}` }, agent: false });
  const [stream]: IncomingMessage[] = await once(request, "response", {
    signal: AbortSignal.timeout(10_000),
  });
  if (stream?.statusCode !== 200) throw new Error(`the stream answered ${stream?.statusCode}`);
  stream.on("error", () => {});
  stream.on("data", (bytes: Buffer) => {
    const atMs = performance.timeOrigin + performance.now();
    for (const [, seq] of bytes.toString().matchAll(/^id: \d+-(\d+)$/gm))
      seen.push({ run, seq: Number(seq), atMs });
  });
  return stream;
}

/** Of each event that a viewer received: milliseconds since the statement that committed it began. */
async function latenciesMs(
  { sql }: Stores,
  runs: readonly RunId[],
  seen: readonly Seen[],
): Promise<number[]> {
  const entries = await sql<{ run_id: string; seq: number; events_n: number; at_ms: number }[]>`
    select run_id, seq, events_n, extract(epoch from at)::float8 * 1000 as at_ms from journal where run_id in ${sql(runs)}`;
  const committedMs = new Map<string, number>();
  for (const { run_id, seq, events_n, at_ms } of entries) {
    for (let n = seq - events_n + 1; n <= seq; n++) committedMs.set(`${run_id} ${n}`, at_ms);
  }
  return seen.map(({ run, seq, atMs }) => atMs - (committedMs.get(`${run} ${seq}`) ?? NaN));
}
