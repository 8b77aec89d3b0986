/** A base backup, archived WAL and a restore to a point in time, by the commands of docs/operations.md. */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import postgres, { type Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../local/processes/free-ports.ts";
import { RunId } from "../../shared/contracts/ids.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { bodyOf, runPath, startApp, type TestApp } from "../edge/app.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { ageEnd, archivePass } from "../services/archive.ts";
import { until } from "../services/waiting.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker, type WorkerProcess } from "../services/worker-process.ts";
import {
  findDebianPostgres,
  initDebianPostgres,
  makeFolder,
  startOnData,
  type DebianPostgres,
} from "./debian-postgres.ts";
import { configure, documentedBlock, shell } from "./documented-backup.ts";

const BACK_UP = "Back up Postgres";
const RESTORE = "Restore to a point in time";

let debian: DebianPostgres;
let backup: string;
let data: string;
let server: Awaited<ReturnType<typeof startOnData>>;
let app: TestApp;
let sql: Sql;
const workers: WorkerProcess[] = [];

const print = (id: string, fields: object = {}) => ({
  id,
  name: id,
  type: "print",
  print_content: id,
  ...fields,
});
const definitions = {
  orch_asks: [
    { id: "ask", name: "Ask", type: "human", human_prompt: "Go on?", next_step_id: "last" },
    print("last"),
  ],
  orch_sleeps: [
    { id: "sleep", name: "Sleep", type: "wait", wait_seconds: 600, next_step_id: "last" },
    print("last"),
  ],
  orch_fails: [
    { id: "fail", name: "Fail", type: "transform", transform_code: "throw new Error('no')", output_key: "x" },
  ],
};

async function startRun(orchestration: string, tenant_id = "acme"): Promise<RunId> {
  const path = `/api/v2/orchestrations/${orchestration}/run`;
  const answer = await app.call("POST", path, { body: { message: "hi", tenant_id } });
  if (answer.status !== 202) throw new Error(`POST answered ${answer.status}: ${await answer.text()}`);
  return RunId.parse((await bodyOf(answer)).run_id);
}

const statusOf = async (run: RunId) => {
  const answer = await app.call("GET", runPath(run, "status"));
  return answer.status === 200 ? (await bodyOf(answer))["status"] : answer.status;
};
const untilStatus = (run: RunId, status: string) =>
  until(
    `${run} is ${status}`,
    async () => (await statusOf(run)) === status,
    undefined,
    () => workers.flatMap(({ lines }) => lines.map((line) => JSON.stringify(line))).join("\n"),
  );
const eventsOf = async (run: RunId) => bodyOf(await app.call("GET", runPath(run, "events?limit=200")));
const answerQuestion = (run: RunId) =>
  app.call("POST", runPath(run, "resume"), { body: { response: "yes" } });
const saveTenant = async (tenant_id: string, limits: Record<string, number> = {}) =>
  expect((await app.call("POST", "/scale/tenants", { body: { tenant_id, ...limits } })).ok).toBe(true);

async function startWorker(id: string): Promise<void> {
  const { url } = app.stores.service;
  const env = { REDIS_URL: url, SCALE_POSTGRES_URL: server.url, WORKER_HEALTH_PORT: "0", MASTER_KEY };
  const worker = spawnWorker(id, env, await builtWorker("short"));
  workers.push(worker);
  await worker.untilLogged("worker.ready");
}
const stopWorkers = () => Promise.all(workers.splice(0).map((worker) => worker.stop("SIGKILL")));

/** Waits until the archive has all that was committed. */
async function archiveAll(): Promise<void> {
  const [row] = await sql<{ name: string }[]>`select pg_walfile_name(pg_switch_wal()) as name`;
  await until("the WAL is in the archive", () => existsSync(join(backup, "wal", row?.name ?? "")));
}

beforeAll(async () => {
  debian = findDebianPostgres();
  data = initDebianPostgres(debian);
  backup = makeFolder(debian, "backup");
  for (const name of ["backup/wal", "backup/base"]) makeFolder(debian, name);
  configure(data, `archive_mode = on\n${documentedBlock(BACK_UP, "archive_command", backup)}`);
  server = await startOnData(debian, data, await freePort(0));
  await migrate(server.url);
  app = await startApp({ MASTER_KEY }, Promise.resolve(server.url));
  sql = app.stores.sql;
  for (const [id, steps] of Object.entries(definitions)) {
    const body = { name: id, description: "", entry_step_id: steps[0]?.id, steps };
    expect((await app.call("PUT", `/api/v2/orchestrations/${id}`, { body })).status).toBeLessThan(300);
  }
  await startWorker("before");
});
afterAll(async () => {
  await stopWorkers();
  await app.stop();
  await server.stop();
  rmSync(debian.dir, { recursive: true, force: true });
});

test("the documented archive command stores a file whole, again after a crash, and never replaces another one", async () => {
  const folder = makeFolder(debian, "archive");
  makeFolder(debian, "archive/wal");
  const setting = documentedBlock(BACK_UP, "archive_command", folder);
  const [, command = ""] = /^archive_command = '(.*)'/m.exec(setting) ?? [];
  const segment = join(folder, "segment");
  const archive = () =>
    shell(debian, command.replaceAll("%p", segment).replaceAll("%f", "000000010000000000000001"));
  const stored = join(folder, "wal/000000010000000000000001");
  writeFileSync(segment, "whole");
  // A crash in the middle of the copy.
  await shell(debian, `printf wh > ${stored}.part`);
  expect((await archive()).code).toBe(0);
  expect(readFileSync(stored, "utf8")).toBe("whole");
  // A crash before the server noted that the file is in the archive.
  expect((await archive()).code).toBe(0);
  writeFileSync(segment, "other");
  expect((await archive()).code).not.toBe(0);
  expect(readFileSync(stored, "utf8")).toBe("whole");
});

describe("after a restore to a point in time", () => {
  let point: string;
  /** Runs that had ended at the point of the restore, that were open then and ended later, and that were accepted after it. */
  let ended: RunId;
  let waitsForAnswer: RunId;
  let sleeping: RunId;
  let queued: RunId;
  let archived: RunId;
  let later: RunId;
  let eventsOfArchived: unknown;

  beforeAll(async () => {
    await saveTenant("acme", { max_concurrent_runs: 3 });
    await saveTenant("mistake");
    await saveTenant("raised", { max_concurrent_runs: 1, max_queued_runs: 1 });
    archived = await startRun("orch_fails");
    await untilStatus(archived, "failed");
    await ageEnd(sql, archived);
    expect(await archivePass(sql, app.bucket)).toBe(1);
    eventsOfArchived = await eventsOf(archived);

    const command = documentedBlock(BACK_UP, "pg_basebackup", backup);
    const backedUp = await shell(debian, command, { SCALE_POSTGRES_URL: server.url });
    expect(backedUp).toMatchObject({ code: 0 });

    ended = await startRun("orch_smoke");
    waitsForAnswer = await startRun("orch_asks");
    sleeping = await startRun("orch_sleeps");
    await untilStatus(ended, "completed");
    await untilStatus(waitsForAnswer, "paused");
    await untilStatus(sleeping, "paused");
    await stopWorkers();
    queued = await startRun("orch_smoke", "mistake");
    await app.settled();
    const [row] = await sql<{ now: string }[]>`select clock_timestamp()::text as now`;
    point = row?.now ?? "";

    // The restore undoes these changes.
    await startWorker("later");
    await answerQuestion(waitsForAnswer);
    later = await startRun("orch_smoke");
    for (const run of [waitsForAnswer, queued, later]) await untilStatus(run, "completed");
    for (const max_queued_runs of [7, 8, 9]) await saveTenant("raised", { max_queued_runs });
    expect((await app.call("DELETE", "/scale/tenants/mistake")).ok).toBe(true);
    await saveTenant("created-later");
    // A retry brings the journal back, so that no run refers to the segment any more.
    expect((await app.call("POST", runPath(archived, "retry"))).status).toBe(202);
    await untilStatus(archived, "failed");
    await sql`update journal_segments set unused_since = now() - interval '6 days 23 hours' where live_runs = 0`;
    const [unused] = await sql`select count(*)::int as n from journal_segments where live_runs = 0`;
    expect(unused).toEqual({ n: 1 });
    await archivePass(sql, app.bucket);
    await archiveAll();
  });

  /** The documented steps, after the loss of the server: its data folder is gone. */
  async function restore(): Promise<void> {
    await stopWorkers();
    await server.stop("SIGQUIT");
    rmSync(data, { recursive: true });
    makeFolder(debian, "data");
    const [base = ""] = readdirSync(join(backup, "base"));
    const copy = documentedBlock(RESTORE, "recovery.signal", backup).replace(/\d{4}-\d\d-\d\d/, base);
    expect(await shell(debian, copy, { PGDATA: data })).toMatchObject({ code: 0 });
    const settings = documentedBlock(RESTORE, "recovery_target_time", backup);
    configure(data, settings.replace(/^recovery_target_time = .*/m, `recovery_target_time = '${point}'`));
    server = await startOnData(debian, data, server.port);
    const check = postgres(server.url, { max: 1 });
    await until("Postgres accepts writes", async () => {
      const [row] = await check<{ standby: boolean }[]>`select pg_is_in_recovery() as standby`;
      return row?.standby === false;
    });
    await check.end();
  }

  test.each([
    ["as it was: newer than Postgres", async () => {}],
    ["empty", async () => void (await app.stores.redis.flushall())],
  ])(
    "with a Redis that is %s, every accepted run ends, limits hold, and journals are whole",
    async (_, changeRedis) => {
      await restore();
      await changeRedis();
      await startWorker("restored");

      expect(await statusOf(ended)).toBe("completed");
      expect(await statusOf(later)).toBe(404);
      expect(await eventsOf(archived)).toEqual(eventsOfArchived);
      // The run was executed after the restore point, so it is executed again.
      await untilStatus(queued, "completed");
      expect(await statusOf(waitsForAnswer)).toBe("paused");
      expect((await answerQuestion(waitsForAnswer)).status).toBe(202);
      await untilStatus(waitsForAnswer, "completed");
      expect(await statusOf(sleeping)).toBe("paused");
      await sql`with due as (update waits set deadline_at = now() where run_id = ${sleeping})
      update runs set wake_at = now() where run_id = ${sleeping}`;
      await untilStatus(sleeping, "completed");

      // The tenant that was deleted by mistake works again, and so does one that did not exist at the point.
      await untilStatus(await startSoon("mistake"), "completed");
      await untilStatus(await startSoon("created-later"), "completed");
      // The limits of the point hold, and not those of the changes after it.
      await stopWorkers();
      expect((await post("raised")).status).toBe(202);
      expect((await post("raised")).status).toBe(429);
      await startWorker("restored-too");

      const [open] =
        await sql`select count(*)::int as n from runs where ended_at is null and tenant_id <> 'raised'`;
      expect(open).toEqual({ n: 0 });
    },
    240_000,
  );

  const post = (tenant_id: string) =>
    app.call("POST", "/api/v2/orchestrations/orch_smoke/run", { body: { message: "hi", tenant_id } });

  /** Starts a run as soon as the queue has the limits of this database. */
  async function startSoon(tenant: string): Promise<RunId> {
    const runs: RunId[] = [];
    await until(`${tenant} may start a run`, async () => {
      const response = await post(tenant);
      if (response.status === 202) runs.push(RunId.parse((await bodyOf(response)).run_id));
      return runs.length > 0;
    });
    const [run] = runs;
    if (run === undefined) throw new Error("no run");
    return run;
  }
});
