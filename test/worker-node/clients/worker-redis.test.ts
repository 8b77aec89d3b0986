import { afterEach, beforeEach, expect, test } from "vitest";
import type { Service } from "../../../local/processes/child.ts";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import { keys } from "../../../shared/keys.ts";
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

function open(id: string): WorkerRedis {
  const config = readConfig({
    REDIS_URL: service.url,
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
