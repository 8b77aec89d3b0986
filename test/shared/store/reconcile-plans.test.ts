import type { ParameterOrJSON } from "postgres";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { cancelRuns } from "../../../shared/store/runs/cancel.ts";
import { claimDirectly, claimRuns, handBack, lookUp } from "../../../shared/store/runs/claim.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import {
  dueRuns,
  overdueRuns,
  listOwners,
  runningRuns,
  reclaimFromSilent,
  reclaimOverdue,
} from "../../../shared/store/runs/reconcile.ts";
import { connectionOptions } from "../../../shared/store/sql.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { beat } from "../../../shared/store/workers/workers.ts";
import { beatOf, entryOf, openStore } from "./world.ts";
import type { Store } from "./world.ts";

let store: Store;
let sql: Sql;
/** Each statement as it went to Postgres. */
const asked: { query: string; parameters: ParameterOrJSON<never>[] }[] = [];

/** A backlog that is due, a history that has ended, and a few that run. */
beforeAll(async () => {
  store = await openStore();
  await store.sql`
    insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, attempt, owner,
      wake_at, deadline_at, correlation_id, input, ended_at)
    select 'run_' || lpad(to_hex(i), 12, '0') || '_' || 1780000000000 + i, 'acme', 'orch', 'acme', 1,
      case when i % 10 < 7 then 'completed' when i % 1000 = 8 then 'running' else 'queued' end, 1,
      case when i % 10 >= 7 and i % 1000 = 8 then 'w' || i % 7 || '#00000000' end,
      case when i % 10 >= 7 then now() - i * interval '1 second' end, now() + interval '1 minute', 'c', '{}',
      case when i % 10 < 7 then now() end
    from generate_series(1, 100000) i`;
  await store.sql`analyze runs`;
  sql = postgres(store.url, {
    ...connectionOptions,
    max: 1,
    debug: (_connection, query, parameters) => asked.push({ query, parameters }),
  });
}, 120_000);
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await store.close();
});

/** The plan of a statement as Postgres makes it for these parameters, and as it makes it for any: that one is kept. */
async function plansOf(work: () => Promise<unknown>, on: Sql = store.sql): Promise<string[]> {
  asked.length = 0;
  await work();
  const [statement] = asked;
  if (!statement) throw new Error("nothing was asked");
  const { query, parameters } = statement;
  const connection = await on.reserve();
  try {
    // By hand: EXPLAIN of a statement with parameters always knows them.
    await connection.unsafe(`prepare asked as ${query}`);
    const given = parameters.length > 0 ? `(${parameters.map(literal).join()})` : "";
    const plans: string[] = [];
    for (const mode of ["force_custom_plan", "force_generic_plan"]) {
      await connection.unsafe(`set plan_cache_mode = ${mode}`);
      const rows = await connection.unsafe(`explain execute asked${given}`);
      plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n"));
    }
    return plans;
  } finally {
    await connection.unsafe("deallocate all").simple();
    await connection.unsafe("reset plan_cache_mode");
    connection.release();
  }
}

function literal(parameter: unknown): string {
  if (parameter === null) return "null";
  const text = typeof parameter === "string" ? parameter : JSON.stringify(parameter);
  return `'${text.replaceAll("'", "''")}'`;
}

const owner = newIncarnation("w");
const runIds = Array.from({ length: 100 }, (_, i) => newRunId(1_790_000_000_000 + i));
const running = runIds.map((run_id) => ({ run_id, attempt: 1, event_seq: 0, signals: 0, owner }));
const entries = running.map((run) => entryOf(run));
const ends = running.map((run) => entryOf(run, { kind: "end", status: "completed" }));

// Red when: an index is dropped, or a condition is written so that none fits: each of these runs all the time.
test.each<[string, (on: Sql) => Promise<unknown>]>([
  ["a flush", (on) => flush(on, entries)],
  ["a flush of ends", (on) => flush(on, ends)],
  ["a cancel", (on) => cancelRuns(on, runIds, [])],
  ["a direct claim", (on) => claimDirectly(on, owner, 10, ["default"])],
  ["a claim", (on) => claimRuns(on, owner, runIds)],
  ["a look", (on) => lookUp(on, runIds)],
  [
    "a hand back",
    (on) =>
      handBack(
        on,
        owner,
        runIds.map((run_id) => ({ run_id, attempt: 1 })),
      ),
  ],
  ["a beat", (on) => beat(on, beatOf(owner))],
  [
    "a page of the walk",
    (on) => dueRuns(on, { at: "2026-01-01T00:00:00Z", run_id: "" }, "2027-01-01T00:00:00Z", 1_000),
  ],
  ["all owners", (on) => listOwners(on)],
  ["a page of what runs", (on) => runningRuns(on, { owner: "", run_id: "" }, 1_000)],
  ["what is overdue", (on) => overdueRuns(on)],
  ["what a silent owner has", (on) => reclaimFromSilent(on, owner, null)],
  [
    "what is taken back",
    (on) =>
      reclaimOverdue(
        on,
        runIds.map((run_id) => ({ run_id, attempt: 1, event_seq: 0, deadline_at: "2026-01-01T00:00:00Z" })),
      ),
  ],
])("%s reads no more of 100,000 runs than it has to", async (_name, work) => {
  for (const plan of await plansOf(() => work(sql))) expect(plan).not.toMatch(/Seq Scan on runs/);
});

// Red when: a page is sorted: the whole backlog would be read for each.
test("a page of the walk comes out of its index in order", async () => {
  const page = () => dueRuns(sql, { at: "2026-01-01T00:00:00Z", run_id: "" }, "2027-01-01T00:00:00Z", 1_000);
  for (const plan of await plansOf(page)) {
    expect(plan).toContain("runs_due");
    expect(plan).not.toContain("Sort");
  }
});

// A run, and nobody has counted yet how many there are: so a system begins, and the plans that it makes then are kept
// until an analyze. Red when: Postgres is left to guess that ten rows are wanted, and that a scan of all has as many.
test.each<[string, (on: Sql) => Promise<unknown>]>([
  ["a flush", (on) => flush(on, entries)],
  ["a flush of ends", (on) => flush(on, ends)],
  ["a claim", (on) => claimRuns(on, owner, runIds)],
])("%s goes by the keys of runs from the first run on", async (_name, work) => {
  const small = await openStore();
  await small.running();
  const [, plan] = await plansOf(() => work(sql), small.sql);

  expect(plan).not.toMatch(/(Seq|Bitmap Heap) Scan on runs/);
  await small.close();
});
