/** `npm start` restarts killed stores and processes. killed-processes.deep.test.ts kills each of them while runs are under way. */
import { once } from "node:events";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { isRunning } from "../../local/processes/pids.ts";
import { until } from "../services/waiting.ts";
import { OwnSystem } from "./own-system.ts";

let system: OwnSystem;
beforeAll(async () => {
  system = await OwnSystem.start();
});
afterAll(() => system.stop());

// Fails when startPostgres does not end the backends of the killed server.
test("Postgres is restarted also while a backend of the killed server still executes a query", async () => {
  const { postgres_pid, postgres_url } = system.facts;
  const [sql, watch] = [postgres(postgres_url, { max: 1 }), postgres(postgres_url, { max: 1 })];
  const marker = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const backend = z.number().parse(marker[0]?.pid);
  const endless =
    sql`select count(*) from generate_series(1, 1000000000) a where md5(a::text) = 'no'`.execute();
  endless.catch(() => {}); // its connection is cut
  const active = async () =>
    (await watch`select state from pg_stat_activity where pid = ${backend}`)[0]?.["state"];
  await expect.poll(active).toBe("active");
  await watch.end();
  process.kill(postgres_pid, "SIGKILL");
  expect(isRunning(backend)).toBe(true);
  await until("Postgres is back", () => system.facts.postgres_pid !== postgres_pid);
  await sql.end({ timeout: 0 });
});

test("Ctrl-C while killed processes are about to be restarted ends all of them", async () => {
  const { edge_pid, redis_pid, redis_rest_pid, postgres_pid, workers } = system.facts;
  const pids = [edge_pid, redis_pid, redis_rest_pid, postgres_pid, ...workers.map(({ pid }) => pid)];
  const before = system.ends("edge");
  for (const pid of [edge_pid, redis_pid, postgres_pid]) process.kill(pid, "SIGKILL");
  await until("its end is reported", () => system.ends("edge") > before);
  // Redis comes back first. The edge needs longer: its next start is under way.
  await until("Redis is back", () => system.facts.redis_pid !== redis_pid);
  system.program.child.kill("SIGINT");
  // A process that `npm start` does not end runs for ever: this wait then fails at its time limit.
  const [code] = await once(system.program.child, "exit");
  expect(code).toBe(0);
  expect(pids.filter(isRunning)).toEqual([]);
});
