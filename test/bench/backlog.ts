/**
 * `npm run bench:backlog [-- runs]`: the reconciler with a backlog of 1,000,000 queued runs in
 * Postgres and Redis: the time of a rebuild of Redis, the cost of a pass afterwards, and the effect of both on claims.
 */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import postgres from "postgres";
import { startPostgres } from "../../local/stores/postgres.ts";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import { newIncarnation } from "../../shared/contracts/ids.ts";
import type { RunId } from "../../shared/contracts/ids.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import { stateStore } from "../../shared/store/state.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { QueueLinks } from "../../worker-node/fleet/queue-links.ts";
import { workerTiming } from "../../worker-node/fleet/worker-timing.ts";
import { Reconciler } from "../../worker-node/reconciler/reconciler.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";

const RUNS = Number(process.argv[2] ?? 1_000_000);
const PART = 20_000;
const TENANTS = 100;
const CLAIM_SECONDS = 10;

const dir = mkdtempSync(join(tmpdir(), "synapse-backlog-"));
chmodSync(dir, 0o711);
const postgresService = await startPostgres({ dir: join(dir, "postgres") });
const redisService = await startRedis({ dir: join(dir, "redis"), args: inMemory });
const sql = postgres(postgresService.url, { ...connectionOptions, max: 4 });
const redis = new Redis(redisService.url, { protocol: 2 });
try {
  await migrate(postgresService.url);
  await sql`insert into tenants (tenant_id, max_concurrent_runs, max_queued_runs)
    select 'tenant-' || n, 1000000, 1000000 from generate_series(1, ${TENANTS}) n`;
  // In parts: a statement may take 5 s.
  for (let from = 1; from <= RUNS; from += PART)
    await sql`
    insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, wake_at, queued_at,
      correlation_id, input)
    select 'run_' || lpad(to_hex(n), 12, '0') || '_1780000000000', 'tenant-' || (1 + n % ${TENANTS}), 'orch', '', 1,
      now() - interval '1 hour' + n * interval '1 millisecond', now() - interval '1 hour' + n * interval '1 millisecond',
      'c', '{}'
    from generate_series(${from}::int, ${Math.min(RUNS, from + PART - 1)}::int) n`;
  await sql`analyze runs`;

  const queue = new Queue(scriptCommands(redis), 1);
  const store = stateStore(sql);
  const reconciler = new Reconciler({
    files: () => null,
    owner: newIncarnation("bench"),
    store,
    queue,
    links: new QueueLinks(1, workerTiming),
    timing: workerTiming,
    isolation: true,
    announceQueue: async () => {},
  });
  const pass = async (): Promise<number> => {
    const startedMs = performance.now();
    reconciler.passSoon();
    await reconciler.stop();
    return performance.now() - startedMs;
  };

  const rebuildMs = performance.now();
  let passes = 0;
  let longestMs = 0;
  for (let isThrough = false; !isThrough; passes++) {
    longestMs = Math.max(longestMs, await pass());
    isThrough = Number.isFinite((await queue.readIndex(0)).uptoMs);
  }
  console.log(`rebuild of Redis from ${RUNS} queued runs: ${seconds(performance.now() - rebuildMs)} s`);
  console.log(
    `  in ${passes} passes, the longest ${longestMs.toFixed(0)} ms; claims are open from the first`,
  );
  const { ready } = await queue.stats(0);
  if (ready !== RUNS) throw new Error(`Redis knows ${ready} of ${RUNS} runs`);

  const steadyMs: number[] = [];
  for (let i = 0; i < 10; i++) steadyMs.push(await pass());
  console.log(
    `a pass with that backlog: ${steadyMs.map((ms) => ms.toFixed(0)).join(" ")} ms (Redis and Postgres together)`,
  );

  const alone = await claims(queue);
  reconciler.start();
  const beside = await claims(queue);
  await reconciler.stop();
  const afterwards = await claims(queue);
  console.log(`claims/s (100 a call): ${alone} alone, ${beside} beside the reconciler, ${afterwards} alone`);
} finally {
  redis.disconnect();
  await sql.end({ timeout: 1 });
  await Promise.all([postgresService.stop(), redisService.stop()]);
  rmSync(dir, { recursive: true, force: true });
}

/** Jobs per second that are claimed, and finished with the next claim. */
async function claims(queue: Queue): Promise<number> {
  const untilMs = performance.now() + CLAIM_SECONDS * 1_000;
  let ended: RunId[] = [];
  let count = 0;
  while (performance.now() < untilMs) {
    const { runs } = await queue.claim({
      shard: 0,
      owner: "bench",
      leaseMs: 15_000,
      slots: 100,
      lanes: { default: 100 },
      ended,
    });
    ended = runs.map(({ run }) => run);
    count += ended.length;
  }
  return Math.round(count / CLAIM_SECONDS);
}

function seconds(ms: number): string {
  return (ms / 1_000).toFixed(1);
}
