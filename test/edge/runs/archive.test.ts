import { afterAll, beforeAll, expect, test } from "vitest";
import { RunId } from "../../../shared/contracts/ids.ts";
import { beginRestore, restoreRows } from "../../../shared/store/archive/restore-journal.ts";
import { readArchivePlace } from "../../../shared/store/archive/archive-journals.ts";
import { archivedRows } from "../../../shared/archive/read-archive.ts";
import { ageEnd, archivePass } from "../../services/archive.ts";
import { FakeJournalWriter } from "../test-stores.ts";
import { bodyOf, runPath, startApp, startRun } from "../app.ts";
import type { TestApp } from "../app.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

/** A run that has ended, with more text than a block of a segment holds. */
async function endedRun(pieces = 60, chars = 5_000): Promise<RunId> {
  const run = RunId.parse(await startRun(app));
  const writer = new FakeJournalWriter(app.stores, run);
  await writer.claim();
  await writer.write([
    { type: "llm_delta", orch_step_id: "one", text: "ä\u0000" },
    { type: "llm_delta", orch_step_id: "one", text: "b" },
  ]);
  for (let i = 0; i < pieces; i++) await writer.text(`${i} ${"x".repeat(chars)}`);
  await writer.end();
  return run;
}

const rowsOf = (run: RunId) => app.stores.sql`select * from journal where run_id = ${run} order by seq`;
const read = async (run: RunId, rest: string, headers: Record<string, string> = {}) => {
  const response = await app.call("GET", runPath(run, rest), { headers });
  return { status: response.status, text: await response.text() };
};

/** All events of a run, page by page. */
async function eventsOf(run: RunId): Promise<unknown[]> {
  const events: unknown[] = [];
  for (let cursor = ""; ;) {
    const page = await bodyOf(await app.call("GET", runPath(run, `events?limit=7${cursor}`)));
    events.push(...(Array.isArray(page["events"]) ? page["events"] : []));
    if (typeof page["next_cursor"] !== "string") return events;
    cursor = `&cursor=${page["next_cursor"]}`;
  }
}

// Fails when a reader asks Postgres alone, or an entry loses a column on its way.
test("an archived run has the same stream, events, log and result as before, from any id", async () => {
  const run = await endedRun();
  const base = run.slice(-13);
  const reads = [
    "stream",
    `stream?lastEventId=${base}-30`,
    "log",
    "log?format=ndjson",
    "result",
    "events?limit=5",
    `events?start=${base}-3&end=${base}-5`,
  ];
  await ageEnd(app.stores.sql, run);
  const before = await Promise.all(reads.map((rest) => read(run, rest)));
  const events = await eventsOf(run);
  expect(events).toHaveLength(64);
  expect(await archivePass(app.stores.sql, app.bucket)).toBe(1);
  expect(await rowsOf(run)).toEqual([]);
  for (const [i, rest] of reads.entries()) expect([rest, await read(run, rest)]).toEqual([rest, before[i]]);
  expect(await eventsOf(run)).toEqual(events);
  const resumed = await read(run, "stream", { "last-event-id": `${base}-62` });
  expect(resumed.text.match(/^id: .*/gm)).toEqual([`id: ${base}-63`, `id: ${base}-64`]);
  expect((await read(run, "stream", { "last-event-id": `${base}-64` })).status).toBe(204);
});

test("while the object store is away, a read of an archived run is 503 with Retry-After, and then works again", async () => {
  const run = await endedRun(1);
  await ageEnd(app.stores.sql, run);
  await archivePass(app.stores.sql, app.bucket);
  app.bucket.isAway = true;
  try {
    for (const rest of ["events", "log", "result"]) {
      const response = await app.call("GET", runPath(run, rest));
      expect([rest, response.status, response.headers.get("retry-after")]).toEqual([rest, 503, "2"]);
      expect(await bodyOf(response)).toMatchObject({ code: "artifacts_away" });
    }
    expect((await read(run, "status")).status).toBe(200);
  } finally {
    app.bucket.isAway = false;
  }
  expect((await read(run, "result")).status).toBe(200);
});

/** A run that failed with these rows, and whose journal was archived. */
async function archivedFailure(): Promise<{ run: RunId; rows: readonly object[] }> {
  const run = await endedRun(60);
  await app.stores.sql`update runs set status = 'failed' where run_id = ${run}`;
  await ageEnd(app.stores.sql, run);
  const rows = [...(await rowsOf(run))];
  expect(await archivePass(app.stores.sql, app.bucket)).toBe(1);
  return { run, rows };
}

// Fails when a retried run begins without its journal: the worker would execute every step again.
test("a retry brings the journal of an archived run back, and the run continues after its last entry", async () => {
  const { run, rows } = await archivedFailure();
  expect((await app.call("POST", runPath(run, "retry"))).status).toBe(202);
  const restored = await rowsOf(run);
  expect(restored.slice(0, -1)).toEqual(rows);
  expect(restored.at(-1)).toMatchObject({ kind: "rewind", seq: 65 });
  expect(await readArchivePlace(app.stores.sql, run)).toBeNull();
  // Its segment has no other run: its object is deleted after seven days.
  const [segment] = await app.stores
    .sql`select live_runs, unused_since is not null as unused from journal_segments
    where tenant_id = (select tenant_id from runs where run_id = ${run}) order by announced_at desc limit 1`;
  expect(segment).toEqual({ live_runs: 0, unused: true });
});

test("a retry while the object store is away is 503 and changes nothing", async () => {
  const { run } = await archivedFailure();
  app.bucket.isAway = true;
  const response = await app.call("POST", runPath(run, "retry")).finally(() => (app.bucket.isAway = false));
  expect(response.status).toBe(503);
  expect((await bodyOf(await app.call("GET", runPath(run, "status"))))["status"]).toBe("failed");
  expect((await app.call("POST", runPath(run, "retry"))).status).toBe(202);
});

// Fails when a page of Postgres is served although the run is archived, or an unfinished restore stays for ever.
test("a restore that died half-way leaves the run archived, and a reconciler deletes its rows", async () => {
  const { run } = await archivedFailure();
  const { sql } = app.stores;
  const before = await read(run, "log?format=ndjson");
  const place = await readArchivePlace(sql, run);
  if (place === null) throw new Error("the run is not archived");
  await beginRestore(sql, place);
  await restoreRows(sql, place, await archivedRows(app.bucket.readRange, place, 0));
  expect((await rowsOf(run)).length).toBeGreaterThan(0);
  expect(await read(run, "log?format=ndjson")).toEqual(before);
  expect((await read(run, "result")).status).toBe(200);
  await archivePass(sql, app.bucket);
  expect((await rowsOf(run)).length).toBeGreaterThan(0);
  await sql`update journals_to_archive set claimed_until = now() - interval '1 second' where run_id = ${run}`;
  await archivePass(sql, app.bucket);
  expect(await rowsOf(run)).toEqual([]);
  expect(await sql`select 1 from journals_to_archive where run_id = ${run}`).toEqual([]);
  expect(await read(run, "log?format=ndjson")).toEqual(before);
});

test("two retries of an archived run at once: one queues it, the other gets 409, and the journal is there once", async () => {
  const { run, rows } = await archivedFailure();
  const answers = await Promise.all([1, 2].map(() => app.call("POST", runPath(run, "retry"))));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([202, 409]));
  expect((await rowsOf(run)).slice(0, -1)).toEqual(rows);
});
