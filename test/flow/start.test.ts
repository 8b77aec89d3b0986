import { afterEach, expect, test } from "vitest";
import { setStandby } from "../services/databases.ts";
import { freshDatabase, startRedis } from "../services/services.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { Proxy } from "../workerd/proxy.ts";

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

// Fails when a worker that cannot migrate ends: its supervisor starts it again at longer and longer intervals.
test("a worker that starts while Postgres is away, or a standby, waits for it, and SIGTERM ends it while it waits", async () => {
  const [database, standby, redis] = await Promise.all([freshDatabase(), freshDatabase(), startRedis()]);
  await setStandby(standby, true);
  ends.push(() => redis.stop());
  const url = new URL(database);
  const proxy = new Proxy(Number(url.port), url.hostname);
  url.host = `127.0.0.1:${await proxy.listen()}`;
  await proxy.close();
  const env = { REDIS_URL: redis.url, SCALE_POSTGRES_URL: url.href, WORKER_HEALTH_PORT: "0" };
  const program = await builtWorker("real");
  const [waits, leaves] = [
    spawnWorker("waits", env, program),
    spawnWorker("leaves", { ...env, SCALE_POSTGRES_URL: standby }, program),
  ];
  ends.push(() => waits.stop("SIGKILL"));
  const line = await waits.untilLogged("worker.postgres_unreachable");
  expect(line["message"]).toContain("SCALE_POSTGRES_URL");
  await leaves.untilLogged("worker.postgres_unreachable");
  expect(await leaves.stop("SIGTERM")).toBe(0);

  proxy.set("open");
  await proxy.listen();
  ends.push(() => proxy.close());
  await waits.untilLogged("worker.ready");
  // A shell and a process manager may both pass a signal on. The second one does not cut the drain.
  waits.process.kill("SIGTERM");
  await waits.untilLogged("worker.drain_started");
  expect(await waits.stop("SIGTERM")).toBe(0);
  await waits.untilLogged("worker.stopped");
});
