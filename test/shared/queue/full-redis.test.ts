import { afterAll, beforeAll, expect, test } from "vitest";
import { Redis } from "ioredis";
import type { Service } from "../../../local/processes/child.ts";
import { TenantId, newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { Queue } from "../../../shared/queue/queue.ts";
import { keys } from "../../../shared/keys.ts";
import { publishLive } from "../../../worker-node/clients/publish.ts";
import { startRedis } from "../../services/services.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { makeQuotaReady } from "./rebuild-shard.ts";

const acme = TenantId.parse("acme");
let service: Service;
let redis: Redis;
let queue: Queue;

beforeAll(async () => {
  service = await startRedis();
  redis = new Redis(service.url, { protocol: 2, maxRetriesPerRequest: 1 });
  queue = new Queue(scriptCommands(redis), 1);
});
afterAll(async () => {
  redis.disconnect();
  await service.stop();
});

const entry = (run: RunId) => ({
  run,
  seq: 1,
  events_n: 1,
  events: JSON.stringify({ type: "note", text: "x".repeat(10_000) }),
  last: false,
});

// Fails when a full Redis refuses `enqueue` like `admit`: accepted runs wait for as long as Redis is full, and because the
// other verbs work no worker claims directly. Fails also when nothing shortens a live stream that filled Redis.
test("a full Redis admits no run, still hands out committed runs, and gets room again from its live streams", async () => {
  await makeQuotaReady(queue, 0, Date.now());
  const generous = { maxConcurrentRuns: 10, maxQueuedRuns: 10, requestsPerSecond: 1_000 };
  await queue.pushLimits([{ tenant: acme, version: 1, ...generous, weight: 1, runsPerMinute: 1_000 }]);
  const run = newRunId(Date.now());
  const publish = publishLive(redis, 1);
  for (let i = 0; i < 1_000; i++) publish([entry(run)]);
  await expect.poll(() => redis.xlen(keys.live(0))).toBe(1_000);
  await redis.config("SET", "maxmemory", "4mb");

  const other = newRunId(Date.now());
  await expect(queue.admit([{ tenant: acme, run: other }], 100)).rejects.toThrow("OOM");
  await queue.enqueue([{ run, tenant: acme, lane: "default", score: 1, status: "queued", delayMs: 0 }]);
  const claim = await queue.claim({
    shard: 0,
    owner: newIncarnation("w"),
    leaseMs: 15_000,
    slots: 1,
    lanes: { default: 1 },
    ended: [],
  });
  expect(claim.runs).toEqual([{ run, tenant: acme }]);

  publish([entry(run)]);
  await expect.poll(() => redis.xlen(keys.live(0))).toBe(100);
  expect(await queue.admit([{ tenant: acme, run: other }], 100)).toMatchObject([{ ok: true }]);
});
