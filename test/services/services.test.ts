import { Redis } from "ioredis";
import postgres from "postgres";
import { expect, inject, test } from "vitest";
import { freshDatabase, startRedis } from "./services.ts";

test("two fresh databases are separate", async () => {
  const [first, second] = await Promise.all([freshDatabase(), freshDatabase()]);
  const [firstSql, secondSql] = [postgres(first, { max: 1 }), postgres(second, { max: 1 })];
  await firstSql`create table only_first (x int)`;
  await expect(secondSql`select * from only_first`).rejects.toThrow("does not exist");
  await Promise.all([firstSql.end(), secondSql.end()]);
});

test("a test's own Redis can be stopped without effect on the shared one", async () => {
  const own = await startRedis();
  await own.stop();
  const redis = new Redis(inject("redisUrl"));
  expect(await redis.ping()).toBe("PONG");
  redis.disconnect();
});
