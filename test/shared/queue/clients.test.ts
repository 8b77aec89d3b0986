import { Redis as RestRedis } from "@upstash/redis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Queue } from "../../../shared/queue/queue.ts";
import type { RedisCommands } from "../../../shared/queue/scripts.ts";
import { parseRedisUrl } from "../../../worker-node/clients/redis-url.ts";
import { startRestFront } from "../../../worker-node/redis-rest/start-rest-front.ts";
import type { RunningFront } from "../../../worker-node/redis-rest/start-rest-front.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { checkContract } from "./contract.ts";
import { runOf, START_MS, tenant, TestQueue } from "./fixture.ts";
import { rebuildShard } from "./rebuild-shard.ts";

let t: TestQueue;
let front: RunningFront;
beforeAll(async () => {
  t = await TestQueue.start();
  const target = parseRedisUrl({ REDIS_URL: t.url });
  front = await startRestFront({
    target,
    token: "token",
    host: "127.0.0.1",
    port: 0,
    timeoutMs: 60_000,
    origins: [],
  });
});
afterAll(async () => {
  await front.stop();
  await t.stop();
});

const overTcp = (): RedisCommands => scriptCommands(t.redis);

const overHttp = (): RedisCommands => {
  const url = `http://127.0.0.1:${front.port}`;
  const redis = new RestRedis({
    url,
    token: "token",
    automaticDeserialization: false,
    enableTelemetry: false,
  });
  return {
    evalsha: (sha, keys, args) => redis.evalsha(sha, keys, args),
    eval: (script, keys, args) => redis.eval(script, keys, args),
  };
};

test.each([
  ["TCP, the workers' client", overTcp],
  ["REST, the edge's client", overHttp],
])("every verb replies the same over %s, with the time of Redis", async (_, client) => {
  for (const shards of [1, 4]) {
    await t.redis.flushall();
    // Either client sends the text of a script that Redis does not know.
    await t.redis.script("FLUSH");
    await checkContract(new Queue(client(), shards));
  }
});

async function redisMs(): Promise<number> {
  const [seconds, microseconds] = await t.redis.time();
  return Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
}

test("leases lapse by the clock of Redis", async () => {
  await t.redis.flushall();
  const queue = new Queue(overTcp(), 1);
  await rebuildShard(queue, 0);
  const earliestMs = (await redisMs()) + 5000;
  await queue.restoreLeases({
    jobs: [{ run: runOf(1), tenant: tenant("acme"), lane: "default", score: START_MS }],
    owner: "w1",
    leaseMs: 5000,
  });
  const lapse = Number(await t.redis.zscore(t.key("leases"), runOf(1)));
  expect(lapse).toBeGreaterThanOrEqual(earliestMs);
  expect(lapse).toBeLessThanOrEqual((await redisMs()) + 5000);
});
