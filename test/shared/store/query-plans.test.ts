import type { ParameterOrJSON } from "postgres";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { cancelRuns } from "../../../shared/store/runs/mark-cancelled.ts";
import { claimDirectly, claimRuns, handBack } from "../../../shared/store/runs/claim-runs.ts";
import { readRunSnapshots } from "../../../shared/store/runs/run-snapshots.ts";
import { takeExpiredUploads } from "../../../shared/store/files/expired-uploads.ts";
import { findOrphans } from "../../../shared/store/files/orphans.ts";
import { deleteUnusedUses } from "../../../shared/store/files/delete-uses.ts";
import { emptyDeleted } from "../../../shared/store/definitions/empty-deleted.ts";
import { deleteUserBudgets } from "../../../shared/store/money/user-budgets.ts";
import { applyRetention } from "../../../shared/store/tenants/retention.ts";
import { deleteBatches } from "../../../shared/store/runs/delete-batches.ts";
import { repairSingletons } from "../../../shared/store/runs/singletons.ts";
import { readBudgets } from "../../../shared/store/money/budget-rows.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { listEnds } from "../../../shared/store/lanes/list-ends.ts";
import { listDueRuns } from "../../../shared/store/runs/due-runs.ts";
import {
  listOverdueRuns,
  reclaimFromSilent,
  reclaimOverdue,
} from "../../../shared/store/runs/reclaim-runs.ts";
import { listOwners, listRunningRuns } from "../../../shared/store/runs/running-runs.ts";
import { testConnection } from "../../services/databases.ts";
import type { Sql } from "../../../shared/store/sql.ts";
import { beat } from "../../../shared/store/workers/beats.ts";
import { acme, onlineBeat, stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
let sql: Sql;
/** Each statement as it was sent to Postgres. */
const statements: { query: string; parameters: ParameterOrJSON<never>[] }[] = [];

/** 100,000 runs: a due backlog, a history of ended ones, and a few running ones. */
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
  await store.sql`
    insert into batches (batch_id, tenant_id, orchestration_id, total, kept_until)
    select 'batch_' || i, 'acme', 'orch', 1, now() + (i - 1000) * interval '1 minute' from generate_series(1, 50000) i`;
  await store.sql`
    insert into upload_uses (run_id, upload_id, checked)
    select 'run_' || lpad(to_hex(i), 12, '0') || '_' || 1780000000000 + i, 'u', i > 1000 from generate_series(1, 50000) i`;
  await store.sql`
    insert into agents (tenant_id, id, name, definition, version, deleted_at)
    select 'acme', i, 'a', case when i % 50 = 1 then '{"a":1}' else '{}' end, 1, now() - interval '40 days' from generate_series(1, 20000) i`;
  await store.sql`
    insert into budgets (tenant_id, budget_id, scope, period, limit_micro_usd, at_limit, period_start, template_id)
    select 'acme', 'each:' || i, 'user:' || i, 'month', 1, 'fail', budget_period_start('month'), 'each' from generate_series(1, 20000) i`;
  await store.sql`analyze runs, batches, upload_uses, agents, budgets`;
  sql = postgres(store.url, {
    ...testConnection,
    max: 1,
    debug: (_connection, query, parameters) => statements.push({ query, parameters }),
  });
});
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await store.close();
});

/**
 * The plans of the first statement that `work` sends and that contains `text`: the custom plan for its parameters, and the generic
 * plan, which Postgres keeps.
 */
async function plansOf(
  work: () => Promise<unknown>,
  { database = store.sql, text = "" }: { database?: Sql; text?: string } = {},
): Promise<string[]> {
  statements.length = 0;
  await work();
  const statement = statements.find(({ query }) => query.includes(text));
  if (!statement) throw new Error("no statement was sent");
  const { query, parameters } = statement;
  const connection = await database.reserve();
  try {
    // Prepared by hand: EXPLAIN of a statement with parameters always uses their values.
    await connection.unsafe(`prepare explained as ${query}`);
    const values = parameters.length > 0 ? `(${parameters.map(literal).join()})` : "";
    const plans: string[] = [];
    for (const mode of ["force_custom_plan", "force_generic_plan"]) {
      await connection.unsafe(`set plan_cache_mode = ${mode}`);
      const rows = await connection.unsafe(`explain execute explained${values}`);
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
const claimed = runIds.map((run_id) => ({ run_id, attempt: 1, event_seq: 0, signals: 0, owner }));
const entries = claimed.map((run) => stepEntry(run));
const ends = claimed.map((run) => stepEntry(run, { kind: "end", status: "completed" }));

// Fails when an index is dropped, or when a condition is written so that no index fits. Each of these statements is executed continually.
test.each<[string, (on: Sql) => Promise<unknown>]>([
  ["a flush", (on) => flush(on, entries)],
  ["a flush of ends", (on) => flush(on, ends)],
  ["a cancel", (on) => cancelRuns(on, runIds, [])],
  ["a direct claim", (on) => claimDirectly(on, owner, 10, ["default"])],
  ["a claim", (on) => claimRuns(on, owner, runIds)],
  ["a read of snapshots", (on) => readRunSnapshots(on, runIds)],
  [
    "a hand-back",
    (on) =>
      handBack(
        on,
        owner,
        runIds.map((run_id) => ({ run_id, attempt: 1 })),
      ),
  ],
  ["a beat", (on) => beat(on, onlineBeat(owner))],
  [
    "a page of the due scan",
    (on) => listDueRuns(on, { at: "2026-01-01T00:00:00Z", run_id: "" }, "2027-01-01T00:00:00Z", 1_000),
  ],
  ["the list of owners", (on) => listOwners(on)],
  ["a page of running runs", (on) => listRunningRuns(on, { owner: "", run_id: "" }, 1_000)],
  ["the list of overdue runs", (on) => listOverdueRuns(on)],
  ["a reclaim from a silent owner", (on) => reclaimFromSilent(on, owner, null)],
  ["a repair of singleton keys", (on) => repairSingletons(on)],
  [
    "a search for objects that nothing refers to",
    (on) =>
      findOrphans(
        on,
        runIds.map((run) => `acme/${run}/a/1.1/output`),
      ),
  ],
  ["a listing of a lane's ends", (on) => listEnds(on, { lane: "bulk", outcome: "failed" })],
  ["a look at expired uploads", (on) => takeExpiredUploads(on)],
  [
    "a reclaim of overdue runs",
    (on) =>
      reclaimOverdue(
        on,
        runIds.map((run_id) => ({ run_id, attempt: 1, event_seq: 0, deadline_at: "2026-01-01T00:00:00Z" })),
      ),
  ],
])("%s reads no more of 100,000 runs than it needs", async (_name, work) => {
  for (const plan of await plansOf(() => work(sql))) expect(plan).not.toMatch(/Seq Scan on runs/);
});

// Fails when retention reads every row of a table to find those that are due, or all runs to find which rows belong to one.
test.each<[string, string, (on: Sql) => Promise<unknown>]>([
  ["batches", "batches_by_expiry", (on) => deleteBatches(on)],
  ["uses of uploads", "upload_uses_unchecked", (on) => deleteUnusedUses(on)],
  ["deleted definitions", "agents_deleted", (on) => emptyDeleted(on)],
  ["budgets of past periods", "budgets_of_users", (on) => deleteUserBudgets(on)],
  ["budgets of deleted templates", "budgets_of_templates", (on) => deleteUserBudgets(on)],
])("retention finds the %s that are due by the index %s", async (_name, index, work) => {
  for (const plan of await plansOf(() => work(sql))) {
    expect(plan).toMatch(new RegExp(`Index (Only )?Scan (using|on) ${index}`));
    expect(plan).not.toMatch(/Seq Scan on (runs|budgets u)/);
  }
});

// Fails when the parents are joined: with the statistics of some fleets the generic plan of an anti-join reads all runs, with these it does not.
// Fails when a page adds up the calls of all budgets: a tenant has one for each of its end users.
test.each([acme, null])(
  "a page of budgets of the tenant %j is read from their key in order",
  async (tenant) => {
    const after = { tenant_id: acme, id: "each:5" };
    for (const plan of await plansOf(() => readBudgets(sql, { tenant, after, limit: 50 }))) {
      expect(plan).toContain("using budgets_pkey");
      expect(plan).not.toMatch(/Limit[^]*Sort/);
    }
  },
);

test("a tenant's policy finds the runs that it deletes by an index, and their parents by their keys", async () => {
  await store.sql`update tenants set retention = '{"runs_days": 30}' where tenant_id = 'acme'`;
  for (const plan of await plansOf(() => applyRetention(sql), { text: "doomed" })) {
    expect(plan).not.toMatch(/Seq Scan on runs/);
    expect(plan).toMatch(/SubPlan \d+\n +-> +Index Scan using runs_pkey on runs p/);
  }
});

// Fails when a page is sorted: each page would read the whole backlog.
test("a page of the due scan is read from its index in order", async () => {
  const page = () =>
    listDueRuns(sql, { at: "2026-01-01T00:00:00Z", run_id: "" }, "2027-01-01T00:00:00Z", 1_000);
  for (const plan of await plansOf(page)) {
    expect(plan).toContain("runs_due");
    expect(plan).not.toContain("Sort");
  }
});

// Fails when a page leaves paused runs out by a condition: Postgres then reads all queued runs for each page, and sorts them.
test("a page of the due scan is read from its index in order also when nearly all runs are paused", async () => {
  const paused = await openStore();
  await paused.sql`
    insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, attempt, wake_at,
      paused_at, correlation_id, input)
    select 'run_' || lpad(to_hex(i), 12, '0') || '_' || 1780000000000 + i, 'acme', 'orch', 'acme', 1, 'paused', 1,
      now() + i * interval '1 minute', now(), 'c', '{}'
    from generate_series(1, 20000) i`;
  await paused.sql`analyze runs`;
  const page = () => listDueRuns(sql, { at: new Date().toISOString(), run_id: "" }, "infinity", 1_000);
  for (const plan of await plansOf(page, { database: paused.sql })) {
    expect(plan).toContain("Index Scan using runs_due");
    expect(plan).not.toContain("Sort");
  }
  await paused.close();
});

// A new system has a few runs and no statistics, and Postgres keeps the plans that it makes then until an analyze.
// Fails when Postgres may estimate ten wanted rows, and as many for a scan of the whole table: see boundedRows.
test.each<[string, (on: Sql) => Promise<unknown>]>([
  ["a flush", (on) => flush(on, entries)],
  ["a flush of ends", (on) => flush(on, ends)],
  ["a claim", (on) => claimRuns(on, owner, runIds)],
])("%s reads runs by their keys from the first run on", async (_name, work) => {
  const small = await openStore();
  await small.startRun();
  const [, plan] = await plansOf(() => work(sql), { database: small.sql });

  expect(plan).not.toMatch(/(Seq|Bitmap Heap) Scan on runs/);
  await small.close();
});
