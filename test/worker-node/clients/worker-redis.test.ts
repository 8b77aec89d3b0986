import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { keys } from "../../../shared/keys.ts";
import { connectRedis } from "../../../worker-node/clients/redis.ts";
import { parseRedisUrl } from "../../../worker-node/clients/redis-url.ts";
import { openWorkerRedis } from "../../../worker-node/clients/worker-redis.ts";
import type { WorkerRedis } from "../../../worker-node/clients/worker-redis.ts";
import { readConfig } from "../../../worker-node/config.ts";
import { startRedis } from "../../services/services.ts";
import { until } from "../../services/waiting.ts";

let service: Service;
let workers: WorkerRedis[];

beforeEach(async () => {
  service = await startRedis();
  workers = [open("a"), open("b")];
  for (const worker of workers) await until("the worker is connected", () => isConnected(worker));
});
afterEach(async () => {
  for (const worker of workers) worker.close();
  await service.stop();
});

function open(id: string, url = service.url): WorkerRedis {
  const config = readConfig({
    REDIS_URL: url,
    SCALE_POSTGRES_URL: "postgres://localhost",
    WORKER_ID: id,
  });
  return openWorkerRedis(config, newIncarnation(id));
}

/** A command is refused until its connection is ready. */
const isConnected = async (worker: WorkerRedis): Promise<boolean> => {
  try {
    await Promise.all([worker.commands.ping(), worker.waitForWork(0, { open: [], spare: [] }, 1)]);
    return true;
  } catch {
    return false;
  }
};

const blockedClients = async ({ commands }: WorkerRedis): Promise<number> =>
  Number(/blocked_clients:(\d+)/.exec(await commands.info("clients"))?.[1]);

// Fails when a worker that drains keeps its wait: its wait is the oldest, so it would take the marker of the run that it hands
// back, and the run would wait for 2 s. The marker is pushed at once, as the release of that run is.
test("a marker that is pushed after a worker has ended its waits reaches another worker", async () => {
  const [draining, other] = workers;
  if (!draining || !other) throw new Error("there are two workers");
  const ended = draining.waitForWork(0, { open: ["default"], spare: [] }, 20_000);
  await until("the first worker waits", async () => (await blockedClients(other)) === 1);
  const woken = other.waitForWork(0, { open: ["default"], spare: [] }, 20_000);
  await until("both workers wait", async () => (await blockedClients(draining)) === 2);
  draining.endWaits();
  await draining.commands.rpush(keys.wake(0, "default"), "1");
  expect(await Promise.all([ended, woken])).toEqual([false, true]);
  expect(await other.commands.keys("*")).toEqual([]);
});

// Fails when the driver goes on with database 0, as it does by itself: that may be the queue of another installation.
test("a worker uses no other database of Redis when the one of its REDIS_URL is refused", async () => {
  const client = connectRedis(parseRedisUrl({ REDIS_URL: `${service.url}/99` }));
  onTestFinished(() => client.disconnect());
  const errors: string[] = [];
  client.on("error", ({ message }: Error) => errors.push(message));
  let wasReady = false;
  client.on("ready", () => (wasReady = true));
  const refusals = () => errors.filter((message) => message.includes("DB index is out of range")).length;
  // The second refusal comes after all that follows the first.
  await expect.poll(refusals).toBeGreaterThan(1);
  await expect(client.set("x", "1")).rejects.toThrow();
  expect(wasReady).toBe(false);
});

// Fails when a Redis that runs none of the queue's scripts is named by nothing but the failures of single repairs.
test("a worker names what its Redis lacks: the right to run scripts, or scripts of version 7", async () => {
  const [first] = workers;
  await first?.commands.call("ACL", "SETUSER", "reader", "on", ">pw", "~*", "&*", "+@all", "-@scripting");
  const lines = vi.spyOn(console, "error").mockImplementation(() => {});
  onTestFinished(() => lines.mockRestore());
  const url = new URL(service.url);
  Object.assign(url, { username: "reader", password: "pw" });
  const limited = open("c", url.href);
  workers.push(limited);
  await expect
    .poll(() => lines.mock.calls.flat().join())
    .toMatch(
      /"event":"redis.unusable","message":"NOPERM [^"]+","advice":"[^"]*Redis 7.0 or newer[^"]*\+@all/,
    );
  // Health says so too: a ping would succeed.
  await expect(limited.check()).rejects.toThrow("NOPERM");
  await expect(first?.check()).resolves.toBe(1);
});
