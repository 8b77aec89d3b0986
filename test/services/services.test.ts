import { Redis } from "ioredis";
import postgres from "postgres";
import { expect, inject, test } from "vitest";
import { freshDatabase, startRedis } from "./services.ts";

test("two fresh databases are separate", async () => {
  const [first, second] = await Promise.all([freshDatabase(), freshDatabase()]);
  const [a, b] = [postgres(first, { max: 1 }), postgres(second, { max: 1 })];
  await a`create table only_first (x int)`;
  await expect(b`select * from only_first`).rejects.toThrow("does not exist");
  await Promise.all([a.end(), b.end()]);
});

test("a test's own Redis can be stopped without effect on the shared one", async () => {
  const own = await startRedis();
  await own.stop();
  const redis = new Redis(inject("redisUrl"));
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
});
