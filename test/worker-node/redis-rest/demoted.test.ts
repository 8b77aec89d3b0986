/** A connection that stays open and is of no use any more, to an address behind which there is a living Redis. */
import { Redis } from "ioredis";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { connectRedis, parseRedisUrl } from "../../../worker-node/clients/redis.ts";
import { startRedis } from "../../services/services.ts";
import { Proxy } from "../../workerd/proxy.ts";

let redis: Service;
let address: Proxy;
let client: ReturnType<typeof connectRedis>;

beforeEach(async () => {
  redis = await startRedis();
  address = new Proxy(redis.port);
  const url = `redis://127.0.0.1:${await address.listen()}`;
  client = connectRedis(parseRedisUrl({ REDIS_URL: url }), { commandTimeout: 1_000, socketTimeout: 2_000 });
  client.on("error", () => {});
  await expect.poll(isTaken).toBe(true);
});
afterEach(async () => {
  client.disconnect();
  await address.close();
  await redis.stop();
});

const isTaken = (): Promise<boolean> =>
  client.set("a", "1").then(
    () => true,
    () => false,
  );

// Red when: only a connection that closes is made anew: the old master keeps those that it has.
test("to a master that was demoted is left for where the address leads now", async () => {
  const master = await startRedis();
  const admin = new Redis(redis.url);
  address.lead(master.port);
  await admin.replicaof("127.0.0.1", master.port);
  await expect.poll(isTaken, { timeout: 10_000, interval: 200 }).toBe(true);
  admin.disconnect();
  await master.stop();
});

// Red when: only a command is given up that is not answered, and its connection kept.
test("that swallows everything is left within seconds", async () => {
  address.silence();
  expect(await isTaken()).toBe(false);
  await expect.poll(isTaken, { timeout: 15_000, interval: 200 }).toBe(true);
}, 30_000);
