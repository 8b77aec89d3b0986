import { Redis } from "ioredis";
import { beforeEach, expect, test, vi } from "vitest";
import { keptCommands } from "../../../edge/clients/kept-redis.ts";
import { KEPT_REDIS } from "../../../edge/clients/redis-settings.ts";
import type { RedisCommands } from "../../../shared/queue/scripts.ts";
import type { Service } from "../../../local/processes/child.ts";
import { scriptCommands } from "../../../worker-node/clients/redis.ts";
import { startRedis } from "../../services/services.ts";
import { until } from "../../services/waiting.ts";
import { Proxy } from "../../workerd/proxy.ts";

let service: Service;
let proxy: Proxy;
/** The kept connection goes through the proxy, REST does not. */
let commands: RedisCommands;
let overRest = 0;
let opened: Redis[] = [];
/** The user of the connection; an empty one is the default user of Redis. */
let user = {};
/** The connection over REST, with all rights. */
let direct: Redis;

beforeEach(async () => {
  service = await startRedis();
  proxy = new Proxy(Number(new URL(service.url).port));
  const url = `redis://127.0.0.1:${await proxy.listen()}`;
  direct = new Redis(service.url, { protocol: 2 });
  const rest = scriptCommands(direct);
  const counted = <Result>(reply: Result): Result => {
    overRest += 1;
    return reply;
  };
  overRest = 0;
  opened = [];
  user = {};
  const open = (): Redis => {
    const redis = new Redis(url, { ...KEPT_REDIS, ...user });
    opened.push(redis);
    return redis;
  };
  commands = keptCommands(open, {
    evalsha: (...command) => counted(rest.evalsha(...command)),
    eval: (...command) => counted(rest.eval(...command)),
  });
  return async () => {
    for (const redis of [...opened, direct]) redis.disconnect();
    await proxy.close();
    await service.stop();
  };
});

const run = (script: string, ...args: string[]): Promise<unknown> =>
  commands.eval(script, ["k"], args, "admit");
const isOpen = (): boolean => opened.at(-1)?.status === "ready";

async function openConnection(): Promise<void> {
  await run("return 1");
  await until("the connection is open", isOpen);
  overRest = 0;
}

test("a command goes over REST while there is no connection, and over the connection from then on", async () => {
  expect(await run("return 1")).toBe(1);
  expect(overRest).toBe(1);
  await until("the connection is open", isOpen);
  expect(await run("return {ARGV[1], 2, {}}", "ü")).toEqual(["ü", 2, []]);
  expect([overRest, opened.length]).toEqual([1, 1]);
});

test("NOSCRIPT is returned to the caller, and the connection stays open", async () => {
  await openConnection();
  await expect(commands.evalsha("0".repeat(40), ["k"], [], "admit")).rejects.toThrow("NOSCRIPT");
  expect(await run("return 1")).toBe(1);
  expect([overRest, opened.length]).toEqual([0, 1]);
});

test("a command with any other error is repeated over REST, whose reply counts", async () => {
  await openConnection();
  await expect(run("return redis.error_reply('SHARDS this queue is laid out for 2')")).rejects.toThrow(
    "SHARDS",
  );
  expect(overRest).toBe(1);
});

// Fails when a command's error inside of a script, which begins with ERR, is returned as if REST would return it too.
test("a script whose commands the user of the connection may not use is executed over REST", async () => {
  user = { username: "reader", password: "p" };
  await direct.call("ACL", "SETUSER", "reader", "on", ">p", "~*", "+@all", "-@write");
  await openConnection();
  expect(await run("return redis.call('INCR', KEYS[1])")).toBe(1);
  expect(overRest).toBe(1);
});

// Fails when the log does not say why there is no connection.
test("the log has the reason for which a connection could not be opened", async () => {
  user = { username: "unknown", password: "p" };
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
  await run("return 1");
  await until("the failure is logged", () => lines.some((line) => line.includes("redis_connection_failed")));
  vi.restoreAllMocks();
  expect(lines.join("")).toContain("WRONGPASS");
});

test("a command whose connection breaks is repeated over REST, and so are those after it", async () => {
  await openConnection();
  proxy.set("refuse");
  expect(await Promise.all([run("return 1"), run("return 2")])).toEqual([1, 2]);
  expect(await run("return 3")).toBe(3);
  expect(overRest).toBe(3);
});

test("after a reply such as MOVED, which makes the connection unusable, commands go over REST, and connection attempts are 5 s apart", async () => {
  await openConnection();
  expect(await run("return redis.error_reply('MOVED 1 10.0.0.1:6379')").catch(String)).toContain("MOVED");
  expect(await run("return 1")).toBe(1);
  expect([overRest, opened.length]).toEqual([2, 1]);
  await until("it connects again", async () => (await run("return 1"), isOpen()));
  expect(opened.length).toBe(2);
});

test("a command without a reply is redis_away and not repeated: its caller has waited long enough", async () => {
  await openConnection();
  proxy.silence();
  await expect(run("return redis.call('INCR', KEYS[1])")).rejects.toMatchObject({ code: "redis_away" });
  expect(overRest).toBe(0);
  expect(await run("return 1")).toBe(1);
  expect(overRest).toBe(1);
});

test("an unused connection is closed", async () => {
  await openConnection();
  await until("the connection is closed", () => opened[0]?.status === "end");
  expect(await run("return 1")).toBe(1);
  expect(opened.length).toBe(2);
});

// Fails with the client's `commandTimeout`: workerd keeps each cleared timer for as long as the object lives.
test("commands clear no timer", async () => {
  await openConnection();
  const clear = vi.spyOn(globalThis, "clearTimeout");
  await Promise.all([run("return 1"), run("return 2")]);
  const cleared = clear.mock.calls.length;
  clear.mockRestore();
  expect([cleared, overRest]).toEqual([0, 0]);
});

test("a connection whose login gets no reply is given up, and commands go over REST meanwhile", async () => {
  user = { username: "reader", password: "p" };
  proxy.set("hang");
  const lines: string[] = [];
  vi.spyOn(console, "log").mockImplementation((line: string) => void lines.push(line));
  expect(await run("return 1")).toBe(1);
  await until("it is given up", () => lines.some((line) => line.includes("did not reply within 1500 ms")));
  vi.restoreAllMocks();
  expect(await run("return 2")).toBe(2);
  expect(overRest).toBe(2);
});
