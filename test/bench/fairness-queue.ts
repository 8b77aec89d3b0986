/**
 * What a tenant notices of another one's flood, and how exact weights are, at the queue alone. The workers here claim from
 * a real queue with the slots of real workers, wait on its markers, and hold each run for a time; nothing else is executed,
 * so the figures are those of the queue.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { inMemory, startRedis } from "../../local/stores/redis.ts";
import type { Lane } from "../../shared/contracts/run.ts";
import { Queue } from "../../shared/queue/queue.ts";
import { scriptCommands } from "../../worker-node/clients/redis.ts";
import { START_MS, job, limits } from "../shared/queue/fixture.ts";
import { makeQuotaReady } from "../shared/queue/rebuild-shard.ts";
import { FLOOD, MOST_RISE_MS, check, p99, report } from "./fairness-report.ts";
import { QueueWorker } from "./queue-worker.ts";

const RUN_LANES = ["interactive", "default", "bulk"] as const;
const PICKUPS = 400;
const PICKUP_EVERY_MS = 25;
/** The most that shares may differ from weights. */
const MOST_ERROR = 0.05;

type Spread = (n: number) => { lane?: Lane; score?: number };

/** Over all lanes of runs, 1,000 priorities in each, and in each priority over time. */
const spreadOut: Spread = (n) => ({
  lane: RUN_LANES[n % RUN_LANES.length] ?? "default",
  score: START_MS + n - (n % 1_000) * 60_000,
});

const dir = mkdtempSync(join(tmpdir(), "synapse-fairness-"));
const service = await startRedis({ dir, args: inMemory });
const redis = new Redis(service.url, { protocol: 2 });
const queue = new Queue(scriptCommands(redis), 1);
let nextJob = 0;

try {
  const alone = await pickups([]);
  report("pickup of a quiet tenant, alone", alone);
  const besideFlood = await pickups(["flood"]);
  report(`beside ${FLOOD} jobs of one tenant`, besideFlood);
  check("rise of its p99", p99(besideFlood) - p99(alone), MOST_RISE_MS, "ms");
  // A job has no orchestration, session or correlation id: lane, priority and time are all by which a backlog can be spread.
  const spread = await pickups(["flood"], spreadOut);
  report(`beside ${FLOOD} jobs of one tenant, spread over lanes, priorities and times`, spread);
  check("rise of its p99", p99(spread) - p99(alone), MOST_RISE_MS, "ms");
  for (const [what, weights] of [
    ["weights 1:3", [1, 3]],
    ["weights 1:1:3:5", [1, 1, 3, 5]],
  ] as const) {
    const started = await shares(weights);
    const [least = NaN, ...others] = started.map((n, i) => n / (weights[i] ?? 1));
    const error = Math.max(...others.map((share) => Math.abs(share / least - 1)));
    console.log(
      `${what}: ${started.join(":")} started, which is 1:${(started.at(-1) ?? 0) / (started[0] ?? 1)}`,
    );
    check(`error of ${what}`, error, MOST_ERROR, "");
  }
} finally {
  redis.disconnect();
  await service.stop();
  rmSync(dir, { recursive: true, force: true });
}

async function begin(tenants: Record<string, number>): Promise<void> {
  await redis.flushall();
  await makeQuotaReady(queue, 0, Date.now());
  await queue.pushLimits(
    Object.entries(tenants).map(([name, weight]) => limits(name, { weight, maxConcurrentRuns: 1_000_000 })),
  );
}

async function flood(tenant: string, count: number, spread: Spread = () => ({})): Promise<void> {
  for (let n = 0; n < count; n += 1_000)
    await queue.enqueue(Array.from({ length: 1_000 }, (_, i) => job((nextJob += 1), tenant, spread(n + i))));
}

/** The pickups of a quiet tenant's jobs beside floods, in milliseconds from the enqueue to the claim's reply. */
async function pickups(floods: readonly string[], spread?: Spread): Promise<number[]> {
  await begin(Object.fromEntries(["quiet", ...floods].map((name) => [name, 1])));
  for (const name of floods) await flood(name, FLOOD, spread);
  const sentMs = new Map<string, number>();
  const samples: number[] = [];
  const workers = [0, 1].map(
    (n) =>
      new QueueWorker(`w${n}`, queue, service.url, ({ run }) => {
        const sent = sentMs.get(run);
        if (sent !== undefined) samples.push(performance.now() - sent);
      }),
  );
  await sleep(500);
  for (let n = 0; n < PICKUPS; n += 1) {
    const each = job((nextJob += 1), "quiet");
    sentMs.set(each.run, performance.now());
    await queue.enqueue([each]);
    await sleep(PICKUP_EVERY_MS);
  }
  await sleep(3_000);
  await Promise.all(workers.map((worker) => worker.stop()));
  if (samples.length < PICKUPS) throw new Error(`${samples.length} of ${PICKUPS} jobs were claimed`);
  return samples;
}

/** How many jobs of each tenant start while all of them have a backlog. */
async function shares(weights: readonly number[]): Promise<number[]> {
  const names = weights.map((_, i) => `tenant-${i}`);
  await begin(Object.fromEntries(names.map((name, i) => [name, weights[i] ?? 1])));
  for (const name of names) await flood(name, 20_000);
  const started = new Map<string, number>(names.map((name) => [name, 0]));
  const workers = [0, 1].map(
    (n) =>
      new QueueWorker(`w${n}`, queue, service.url, ({ tenant }) => {
        started.set(tenant, (started.get(tenant) ?? 0) + 1);
      }),
  );
  await sleep(8_000);
  await Promise.all(workers.map((worker) => worker.stop()));
  return [...started.values()];
}
