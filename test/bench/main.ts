/** `npm run bench`: the product's figures beside the machine's floors, all from one run; with `--base REV` beside those of another revision. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Redis } from "ioredis";
import postgres from "postgres";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { benchArchive } from "./archive.ts";
import { benchBareWorker } from "./bare-worker.ts";
import { benchCounts } from "./counts.ts";
import { makeDefinitions } from "./definition.ts";
import { startBenchEdge } from "./edge.ts";
import { benchEvents } from "./events.ts";
import { compareWith } from "./compare.ts";
import { benchColdHerd } from "./cold-herd.ts";
import { floors } from "./floors.ts";
import { benchBatches, benchFullQueue } from "./intake.ts";
import { benchLongRuns } from "./long-runs.ts";
import { benchMcpCalls } from "./mcp-calls.ts";
import { benchRedisRest } from "./redis-rest.ts";
import { benchRequests, benchStatus } from "./requests.ts";
import { benchRuns } from "./runs.ts";
import type { Row } from "./stats.ts";
import { benchStreamingAgents } from "./streaming-agents.ts";
import { benchViewers } from "./viewers.ts";
import { benchWebhooks } from "./webhooks.ts";

async function bench(): Promise<Row[]> {
  const dir = mkdtempSync(join(tmpdir(), "synapse-bench-"));
  chmodSync(dir, 0o711);
  const postgresService = await startPostgres({ dir: join(dir, "postgres") });
  const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
  const sql = postgres(postgresService.url, { ...connectionOptions, max: 4 });
  const redis = new Redis(redisService.url, { protocol: 2 });
  try {
    await migrate(postgresService.url);
    const queue = new Queue(scriptCommands(redis), 1);
    const tool = createServer((_, response) => response.end("{}")).listen(0, "127.0.0.1");
    await once(tool, "listening");
    tool.unref();
    await makeDefinitions(sql, `http://127.0.0.1:${portOf(tool)}/`);
    const stores = { sql, redis, queue, postgres: postgresService, redisService };
    const floor = await floors(sql, redis);
    const runs = await benchRuns(stores, floor.commitMs);
    const longRuns = await benchLongRuns(stores);
    const archive = await benchArchive(sql);
    const webhooks = await benchWebhooks(stores);
    const mcpCalls = await benchMcpCalls();
    const rest = await benchRedisRest(redis, redisService);
    const bareWorker = await benchBareWorker();
    const herd = await benchColdHerd(dir, stores);
    const viewers = await benchViewers(dir, stores);
    const edge = await startBenchEdge(dir, "edge", stores);
    try {
      return [
        ...floor.rows,
        ...runs,
        ...longRuns,
        ...archive,
        ...webhooks,
        ...mcpCalls,
        ...rest,
        ...bareWorker,
        ...(await benchRequests(edge)),
        ...(await benchCounts(stores, edge)),
        ...(await benchStatus(stores.sql, edge)),
        ...herd,
        ...(await benchEvents(stores, edge)),
        ...(await benchStreamingAgents(stores, edge)),
        // Last: they leave queued runs behind.
        ...(await benchFullQueue(stores.sql, edge)),
        ...(await benchBatches(edge)),
        ...viewers,
      ];
    } finally {
      await edge.stop();
    }
  } finally {
    redis.disconnect();
    await sql.end({ timeout: 1 });
    await Promise.all([postgresService.stop(), redisService.stop()]);
    rmSync(dir, { recursive: true, force: true });
  }
}

async function report(): Promise<void> {
  const rows = await bench();
  const isBroken = ({ figure, most }: Row) => most !== undefined && !(figure <= most);
  console.log(`${cpus().length} cores, ${cpus()[0]?.model ?? "unknown"}\n`);
  for (const { what, figure, unit, range, most, mark = most === undefined ? "" : `<= ${most}` } of rows) {
    const spread = range ? `(${range.map((end) => end.toFixed(end < 100 ? 1 : 0)).join(" to ")})` : "";
    const columns = [
      what.padEnd(46),
      figure.toFixed(2).padStart(10),
      unit.padEnd(8),
      spread.padEnd(18),
      mark,
    ];
    console.log(columns.join(" ").trimEnd());
  }
  writeFileSync(
    "bench.json",
    `${JSON.stringify({ at: new Date().toISOString(), cores: cpus().length, rows }, null, 2)}\n`,
  );
  for (const { what, figure, most, unit } of rows.filter(isBroken)) {
    console.error(`broken: ${what} is ${figure.toFixed(2)} ${unit}, and may be at most ${most}`);
    process.exitCode = 1;
  }
}

const { values } = parseArgs({ options: { base: { type: "string" } } });
if (values.base === undefined) await report();
else await compareWith(values.base);
