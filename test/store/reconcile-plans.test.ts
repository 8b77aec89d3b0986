import type { ParameterOrJSON } from "postgres";
import postgres from "postgres";
import { afterAll, beforeAll, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../shared/contracts/ids.ts";
import { cancelRuns } from "../../shared/store/cancel.ts";
import { claimDirectly, claimRuns, handBack, lookUp } from "../../shared/store/claim.ts";
import { flush } from "../../shared/store/flush.ts";
import {
  dueRuns,
  overdueRuns,
  owners,
  runningRuns,
  takeFromSilent,
  takeOverdue,
} from "../../shared/store/reconcile.ts";
import { connectionOptions } from "../../shared/store/sql.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { beat } from "../../shared/store/workers.ts";
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

/** The plan of the last statement, also as Postgres makes it for parameters that it does not know. */
async function plansOf(work: () => Promise<unknown>): Promise<string[]> {
  asked.length = 0;
  await work();
  const [statement] = asked;
  if (!statement) throw new Error("nothing was asked");
  const { query, parameters } = statement;
  const explain = async (mode: string): Promise<string> => {
    const connection = await store.sql.reserve();
    try {
      await connection.unsafe(`set plan_cache_mode = ${mode}`);
      const rows = await connection.unsafe(`explain ${query}`, parameters, { prepare: true });
      return rows.map((row) => row["QUERY PLAN"]).join("\n");
    } finally {
      await connection.unsafe("reset plan_cache_mode");
      connection.release();
    }
  };
  return [await explain("force_custom_plan"), await explain("force_generic_plan")];
}

const owner = newIncarnation("w");
const runIds = Array.from({ length: 100 }, (_, i) => newRunId(1_790_000_000_000 + i));
const entries = runIds.map((run_id) => entryOf({ run_id, attempt: 1, event_seq: 0, signals: 0, owner }));

// Red when: an index is dropped, or a condition is written so that none fits: each of these runs all the time.
test.each<[string, (on: Sql) => Promise<unknown>]>([
  ["a flush", (on) => flush(on, entries)],
  [
    "a flush of ends",
    (on) =>
      flush(
        on,
        entries.map((entry) => ({ ...entry, kind: "end", status: "completed" })),
      ),
  ],
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
  ["all owners", (on) => owners(on)],
  ["a page of what runs", (on) => runningRuns(on, { owner: "", run_id: "" }, 1_000)],
  ["what is overdue", (on) => overdueRuns(on)],
  ["what a silent owner has", (on) => takeFromSilent(on, owner, null)],
  [
    "what is taken back",
    (on) =>
      takeOverdue(
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
