import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, expect, inject, test } from "vitest";
import { projectFolder } from "../../local/processes/programs.ts";
import { newerThanFloor } from "./redis-floor.ts";

const redis = new Redis(inject("redisUrl"), { protocol: 2 });
afterAll(() => redis.disconnect());

test("the tests run on Redis 7.0 or newer", async () => {
  const version = /^redis_version:(\d+)\.(\d+)/m.exec(await redis.info("server"));
  expect(Number(version?.[1])).toBeGreaterThanOrEqual(7);
});

const folder = join(projectFolder, "shared/queue");
const scripts = readdirSync(folder).filter((name) => name.endsWith(".lua"));

test.each(scripts)("%s calls only commands of Redis 7.0", async (name) => {
  const text = readFileSync(join(folder, name), "utf8");
  const commands = [...text.matchAll(/redis\.p?call\(\s*("([A-Z]+)")?/g)].map(([, , command]) => command);
  // A computed command name could not be checked.
  expect(commands).not.toContain(undefined);
  expect(
    await newerThanFloor(
      redis,
      commands.filter((command) => command !== undefined),
    ),
  ).toEqual([]);
});

test("the scripts use only functions of Lua's `redis` that Redis 7.0 has", () => {
  const used = scripts.flatMap(
    (name) => readFileSync(join(folder, name), "utf8").match(/\b(redis|server)\.\w+/g) ?? [],
  );
  expect([...new Set(used)].toSorted()).toEqual(["redis.call", "redis.error_reply"]);
});
