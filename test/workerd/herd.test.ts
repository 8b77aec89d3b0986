/** Many requests at once that need Postgres: they share kept connections, and none gets `database_away`. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { newApiKey } from "../../shared/store/tenants/api-keys.ts";
import { ACCEPT_MS } from "../../shared/timing.ts";
import { startEdge, type Edge } from "./edge.ts";

const PATIENT_MS = 600_000;
/** No machine is so slow that this edge gives Postgres up. A submitted run has ten times the limit of the product. */
const PATIENT = {
  ACCEPT_MS: 10 * ACCEPT_MS,
  POSTGRES_READ_MS: PATIENT_MS,
  POSTGRES_CONNECT_MS: PATIENT_MS,
  CONNECT_MS: PATIENT_MS,
  PROBE_MS: PATIENT_MS,
};

let edge: Edge;
let patient: Edge;
beforeAll(async () => {
  [edge, patient] = await Promise.all([startEdge(), startEdge(1, {}, { limits: PATIENT })]);
});
afterAll(() => Promise.all([edge.stop(), patient.stop()]));

const RUN = "/api/v2/orchestrations/orch_smoke/run";

/** Sends `count` requests at once. @returns how often each status came, a 503 with its code */
async function herd(count: number, send: (i: number) => Promise<Response>): Promise<Record<string, number>> {
  const statuses: Record<string, number> = {};
  await Promise.all(
    Array.from({ length: count }, async (_, i) => {
      const answer = await send(i);
      const body = await answer.text();
      const status =
        answer.status === 503
          ? `503 ${z.object({ code: z.string() }).parse(JSON.parse(body)).code}`
          : answer.status;
      statuses[status] = (statuses[status] ?? 0) + 1;
    }),
  );
  return statuses;
}

/** Connections to the test's database that this test did not open itself. */
async function connections(): Promise<number> {
  const [row] = await edge.stores.sql<{ n: number }[]>`
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend'`;
  // The pool of the test itself.
  return (row?.n ?? 0) - 4;
}

const endConnections = ({ stores }: Edge) => stores.sql`
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and application_name = 'postgres.js'
    and query !~ 'pg_terminate_backend'`;

describe("at an edge without a connection and without a known key", () => {
  // Fails when each request opens a connection of its own: 43 to 64 of them gave up the login.
  test("64 first requests are all accepted", async () => {
    const keys = await Promise.all(Array.from({ length: 64 }, (_, i) => edge.stores.key(`herd-${i}`)));
    const post = (i: number) => edge.call("POST", RUN, { key: keys[i] ?? "", body: { message: "hi" } });
    expect(await herd(64, post)).toEqual({ 202: 64 });
  });

  test("64 unknown keys are 401, each of them", async () => {
    const post = () => edge.call("POST", RUN, { key: newApiKey(), body: {} });
    expect(await herd(64, post)).toEqual({ 401: 64 });
  });
});

describe("a client that polls 300 runs at once", () => {
  test("gets every status, over a bounded number of connections", async () => {
    const runs: string[] = [];
    for (let i = 0; i < 300; i += 50) {
      runs.push(...(await Promise.all(Array.from({ length: 50 }, () => edge.start()))));
    }
    let most = 0;
    const watch = setInterval(() => void connections().then((n) => (most = Math.max(most, n))), 50);
    const poll = (path: string) => (i: number) =>
      edge.call("GET", `/api/v2/orchestrations/runs/${runs[i] ?? ""}/${path}`);
    for (let round = 0; round < 2; round++) expect(await herd(300, poll("status"))).toEqual({ 200: 300 });
    expect(await herd(300, poll("why"))).toEqual({ 200: 300 });
    expect(await herd(300, poll("events"))).toEqual({ 200: 300 });
    clearInterval(watch);
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(14);
  });

  test("sees a run that it has just started, every time", async () => {
    const startAndRead = async () => {
      const run = await patient.start();
      return patient.call("GET", `/api/v2/orchestrations/runs/${run}/status`);
    };
    expect(await herd(100, startAndRead)).toEqual({ 200: 100 });
  });
});

// Fails when a call with the reads of several requests ends with its slowest statement: the lock is held until the other reads have ended.
test("reads that wait for a lock delay no other reads, and succeed after it", async () => {
  const run = await patient.start();
  const locker = await patient.stores.sql.reserve();
  await locker`begin`;
  await locker`set local idle_in_transaction_session_timeout = 0`;
  await locker`lock table orchestrations in access exclusive mode`;
  const waiting = herd(3, (i) => patient.call("GET", `/api/v2/orchestrations?limit=${i + 1}`));
  const status = () => patient.call("GET", `/api/v2/orchestrations/runs/${run}/status`);
  const statuses = await herd(50, status);
  await locker`commit`;
  locker.release();
  expect(statuses).toEqual({ 200: 50 });
  expect(await waiting).toEqual({ 200: 3 });
});

describe("a tenant that floods the reads of runs", () => {
  // Fails when the statements of all tenants wait in one line: a quiet tenant's read then takes as long as the flood's.
  test("waits for itself: another tenant's read takes the next turn", async () => {
    const [loud, quiet] = await Promise.all([edge.stores.key("polls"), edge.stores.key("looks")]);
    const startOf = async (key: string): Promise<string> => {
      const answer = await edge.call("POST", RUN, { key, body: { message: "hi" } });
      return z.object({ run_id: z.string() }).parse(await answer.json()).run_id;
    };
    const mine = await startOf(quiet);
    const theirs = await Promise.all(Array.from({ length: 100 }, () => startOf(loud)));
    // Eight connections then make 400 reads a second, and 100 wait for them.
    edge.postgres.delayMs = 20;
    const timed = async (run: string, key: string): Promise<number> => {
      const startedMs = performance.now();
      const answer = await edge.call("GET", `/api/v2/orchestrations/runs/${run}/status`, { key });
      expect([answer.status, await answer.text()]).toEqual([200, expect.anything()]);
      return performance.now() - startedMs;
    };
    const over = new AbortController();
    const loudMs: number[] = [];
    const flood = theirs.map(async (run) => {
      while (!over.signal.aborted) loudMs.push(await timed(run, loud));
    });
    const quietMs: number[] = [];
    // Reads until the first read of the flood has been answered.
    while (loudMs.length === 0) await timed(mine, quiet);
    for (let i = 0; i < 20; i++) quietMs.push(await timed(mine, quiet));
    over.abort();
    await Promise.all(flood);
    edge.postgres.delayMs = 0;
    const median = (all: number[]) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
    console.info(`a quiet tenant's read ${median(quietMs)} ms, one of the flood ${median(loudMs)} ms`);
    // In one line with the flood it would take as long as the flood's reads.
    expect(median(quietMs)).toBeLessThan(median(loudMs) / 2);
  });
});

test("reads and writes go on after Postgres has ended all connections", async () => {
  const run = await patient.start();
  for (let round = 0; round < 5; round++) {
    await endConnections(patient);
    const status = () => patient.call("GET", `/api/v2/orchestrations/runs/${run}/status`);
    expect(await herd(20, status)).toEqual({ 200: 20 });
    expect(await herd(20, () => patient.call("POST", RUN, { body: {} }))).toEqual({ 202: 20 });
  }
});

describe("a tenant that sends megabytes at once", () => {
  const message = "x".repeat(1_000_000);

  // Fails when the batches are bounded by their count: 56 of 64, and nearly all of the quiet tenant's, were 503.
  test("waits for itself: what is beyond its 16 MiB is 429, and every run of a quiet tenant is accepted", async () => {
    const [loud, quiet] = await Promise.all([patient.stores.key("loud"), patient.stores.key("quiet")]);
    const post = (key: string, body: object) => patient.call("POST", RUN, { key, body });
    const [large, small] = await Promise.all([
      herd(24, () => post(loud, { message })),
      herd(60, () => post(quiet, { message: "hi" })),
    ]);
    expect(small).toEqual({ 202: 60 });
    expect(Object.keys(large).filter((status) => status !== "202" && status !== "429")).toEqual([]);
    expect(large[202]).toBeGreaterThanOrEqual(16);
    const [row] = await patient.stores.sql<{ n: number }[]>`
      select count(*)::int as n from runs where tenant_id = 'loud'`;
    expect(row?.n).toBe(large[202]);
    // The room is free again.
    expect(await herd(8, () => post(loud, { message }))).toEqual({ 202: 8 });
  });
});
