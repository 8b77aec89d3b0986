import postgres from "postgres";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { z } from "zod";
import type { Service } from "../../local/processes/child.ts";
import { migrate } from "../../worker-node/clients/migrations.ts";
import { freshDatabase } from "../services/services.ts";
import { until } from "../services/waiting.ts";
import { npmStart, type System } from "./npm-start.ts";
import { startPgBouncer } from "./pgbouncer.ts";

/** Fewer connections than the edge and two workers open, so that the state of a session would soon reach another client. */
const POOL = 2;

const ends: (() => Promise<unknown>)[] = [];
const OBSERVER = "observer";
let bouncer: Service;
let system: System;
/** A connection to Postgres itself, for checks. */
let sql: postgres.Sql;

beforeAll(async () => {
  const url = await freshDatabase();
  sql = postgres(url, { max: 2, connection: { application_name: OBSERVER } });
  ends.unshift(() => sql.end({ timeout: 1 }));
  bouncer = await startPgBouncer(url, POOL);
  ends.unshift(() => bouncer.stop());
  system = await npmStart(["--workers", "2"], { SCALE_POSTGRES_URL: bouncer.url });
  ends.unshift(() => system.stop());
});
afterAll(async () => {
  for (const end of ends) await end();
});

test("migrations work through PgBouncer, by several processes at once", async () => {
  const name = "migrated_through_pgbouncer";
  const server = postgres(inject("postgresUrl"), { max: 1, onnotice: () => {} });
  await server`create database ${server(name)}`;
  try {
    const url = new URL(bouncer.url);
    url.pathname = `/${name}`;
    await Promise.all([1, 2, 3].map(() => migrate(url.href)));
    url.port = new URL(inject("postgresUrl")).port;
    expect(await tables(url.href)).toEqual(await tables(await freshDatabase()));
  } finally {
    await server`drop database ${server(name)} with (force)`;
    await server.end({ timeout: 1 });
  }
});

async function tables(url: string): Promise<string[]> {
  const database = postgres(url, { max: 1 });
  const rows = await database<{ name: string }[]>`
    select tablename as name from pg_tables where schemaname = 'public' order by 1`;
  await database.end({ timeout: 1 });
  expect(rows.length).toBeGreaterThan(5);
  return rows.map(({ name }) => name);
}

/** Waits until all runs have ended. @returns them */
async function untilEnded(runs: string[]) {
  const read = () => sql<{ status: string; attempt: number; step_count: number; event_seq: number }[]>`
    select status, attempt, step_count, event_seq from runs where run_id in ${sql(runs)} and ended_at is not null`;
  await until("all runs have ended", async () => (await read()).length === runs.length);
  return read();
}

/** The steps with a committed result, in order. */
async function committedSteps(run: string) {
  return sql<{ step: string; attempt: number }[]>`
    select step_path as step, attempt from journal where run_id = ${run} and step_path is not null
      and kind in ('step', 'end') order by seq`;
}

const steps = Array.from({ length: 8 }, (_, at) => ({
  id: `step${at}`,
  name: "Step",
  type: "print",
  print_content: "done",
  output_key: `key${at}`,
  ...(at < 7 && { next_step_id: `step${at + 1}` }),
}));

// Fails when the workers or the edge use named statements, or other state of a session.
test("60 runs of 8 steps complete for 60 viewers over few connections", async () => {
  const definition = { name: "Eight", entry_step_id: "step0", steps };
  const saved = await system.request(0, "PUT", "/api/v2/orchestrations/orch_eight", definition);
  expect(saved.status).toBe(200);
  const watched = await Promise.allSettled(Array.from({ length: 60 }, runAndWatch));
  expect(
    watched.flatMap((outcome) => (outcome.status === "rejected" ? [String(outcome.reason)] : [])),
  ).toEqual([]);

  const runs = watched.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  const rows = await untilEnded(runs);
  for (const row of rows) expect(row).toMatchObject({ status: "completed", attempt: 1, step_count: 8 });
  const results = await Promise.all(
    runs.map(async (run) => (await committedSteps(run)).map(({ step }) => step)),
  );
  expect(results).toEqual(runs.map(() => steps.map(({ id }) => id)));
  const [used] = await sql`select count(*)::int as n from pg_stat_activity
    where datname = current_database() and application_name <> ${OBSERVER}`;
  expect(z.int().parse(used?.n)).toBeLessThanOrEqual(POOL);
});

/** Starts a run and reads its stream up to `done`. @returns the run */
async function runAndWatch(): Promise<string> {
  const { run_id, stream_url } = await system.run("orch_eight");
  const stream = await system.request(0, "GET", stream_url);
  if (!(await stream.text()).includes('"type":"done"')) throw new Error(`${run_id}: the stream has no end`);
  return run_id;
}

test("the run of a killed worker is taken over through PgBouncer", async () => {
  const definition = {
    name: "Slow",
    entry_step_id: "before",
    steps: [
      {
        id: "before",
        name: "Before",
        type: "print",
        print_content: "1",
        output_key: "a",
        next_step_id: "slow",
      },
      {
        id: "slow",
        name: "Slow",
        type: "llm",
        model: "demo/slow",
        prompt_template: "Go on",
        output_key: "b",
      },
    ],
  };
  const saved = await system.request(0, "PUT", "/api/v2/orchestrations/orch_slow", definition);
  expect(saved.status).toBe(200);
  const { run_id } = await system.run("orch_slow");
  const worker = await workerIn(run_id, "slow");
  const pid = system.facts().workers.find(({ name }) => name === worker)?.pid ?? 0;
  expect(pid).toBeGreaterThan(0);
  process.kill(pid, "SIGKILL");
  const [row] = await untilEnded([run_id]);
  expect(row).toMatchObject({ status: "completed", attempt: 2 });
  expect(await committedSteps(run_id)).toEqual([
    { step: "before", attempt: 1 },
    { step: "slow", attempt: 2 },
  ]);
});

/** Waits until the run is in this step. @returns the name of its worker */
async function workerIn(run: string, step: string): Promise<string> {
  let worker = "";
  await until(`${run} is in ${step}`, async () => {
    const [row] = await sql<{ worker_id: string }[]>`
      select workers.worker_id from runs join workers on incarnation = owner
      where run_id = ${run} and current_step_id = ${step}`;
    worker = row?.worker_id ?? "";
    return worker !== "";
  });
  return worker;
}
