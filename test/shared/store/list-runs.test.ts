import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import {
  EXAMINED,
  listRuns,
  listStatement,
  type RunListFilter,
} from "../../../shared/store/runs/list-runs.ts";
import { acme, globex, openStore, type Store } from "./store-fixture.ts";

const RUNS = 6_000;

const ALL: RunListFilter = {
  tenant: null,
  orchestration: null,
  session: null,
  statuses: null,
  since: null,
  until: null,
  metadata: [],
};

let store: Store;
beforeAll(async () => {
  store = await openStore();
  // Ended runs of two tenants, 50 of them queued at the same microsecond, as the runs of one statement are.
  await store.sql`
    insert into runs (run_id, tenant_id, orchestration_id, definition_tenant, definition_version, status, ended_at,
      correlation_id, session_id, input, metadata, queued_at)
    select 'run_' || lpad(to_hex(n), 12, '0') || '_1780499750067', case when n % 2 = 0 then 'acme' else 'globex' end,
      'orch_' || n % 20, '', 1, case when n % 10 < 2 then 'failed' else 'completed' end, now(), 'c', 's' || n % 400, '{}',
      '{"n":' || n || '}', timestamptz '2026-01-01' + n / 50 * interval '1 second'
    from generate_series(1, ${RUNS}::int) n`;
  await store.sql`analyze runs`;
  // These statistics make the planner expect a million runs. For a few runs a sort would be the right plan.
  await store.sql`update pg_class set reltuples = 1000000 where relname = 'runs'`;
});
afterAll(() => store.close());

const Plan = z.object({
  "Node Type": z.string(),
  "Index Name": z.string().optional(),
  "Relation Name": z.string().optional(),
  get Plans() {
    return z.array(Plan).optional();
  },
});
type Plan = z.infer<typeof Plan>;
const nodesOf = (plan: Plan): Plan[] => [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];

const position = { queuedAtUs: 1_767_225_700_000_000, run_id: "run_000000000fff_1780499750067" };
const time = new Date("2026-01-01");

// Fails when a parameter hides from the planner that a page is short, or which index fits: a list then sorts all runs.
test.each<[string, string, Partial<RunListFilter>]>([
  ["all tenants'", "runs_listed_of_all", {}],
  ["a tenant's", "runs_listed", { tenant: acme }],
  ["a tenant's of one status", "runs_listed", { tenant: acme, statuses: ["failed"] }],
  ["a tenant's of a time", "runs_listed", { tenant: acme, since: time, until: time }],
  ["a tenant's with metadata", "runs_listed", { tenant: acme, metadata: [{ key: "n", value: "1" }] }],
  ["an orchestration's", "runs_listed_by_orchestration", { tenant: acme, orchestration: "orch_2" }],
  ["a session's", "runs_listed_by_session", { tenant: acme, session: "s2", statuses: ["failed"] }],
  ["a session's of all tenants", "runs_listed_of_all", { session: "s2", orchestration: "orch_2" }],
])(
  "the list of %s runs reads its index, and no run that it does not examine, under its generic plan",
  async (_name, index, filter) => {
    for (const after of [null, position]) {
      const connection = await store.sql.reserve();
      try {
        await connection`set plan_cache_mode = force_generic_plan`;
        const { string, types } = await listStatement(
          connection,
          { ...ALL, ...filter },
          after,
          50,
        ).describe();
        await connection.unsafe(`prepare list as ${string}`);
        const [row] = await connection.unsafe(
          `explain (format json) execute list(${types.map(() => "null").join(", ")})`,
        );
        await connection.unsafe("deallocate list");
        const [{ Plan: plan } = { Plan: undefined }] = z.array(z.object({ Plan })).parse(row?.["QUERY PLAN"]);
        const reads = nodesOf(Plan.parse(plan)).filter((node) => node["Relation Name"] === "runs");
        expect(reads.map((node) => `${node["Node Type"]} ${node["Index Name"]}`)).toEqual(
          expect.arrayContaining([
            expect.stringMatching(new RegExp(`^Index (Only )?Scan (Backward )?${index}$`)),
          ]),
        );
        expect(reads.map((node) => node["Index Name"] ?? node["Node Type"]).toSorted()).toEqual(
          [index, "runs_pkey"].toSorted(),
        );
      } finally {
        connection.release();
      }
    }
  },
);

async function listAll(filter: Partial<RunListFilter>, limit: number) {
  const ids: string[] = [];
  let after = null;
  let pages = 0;
  do {
    const page = await listRuns(store.sql, { ...ALL, ...filter }, after, limit);
    ids.push(...page.runs.map(({ run_id }) => run_id));
    after = page.next;
    pages++;
  } while (after !== null && pages < 1_000);
  return { ids, pages };
}
const number = (id: string) => Number.parseInt(id.slice(4, 16), 16);

// Fails when a page begins after a time only: the runs of one statement would be skipped or repeated.
test("pages have each run once, the newest first, also where many runs were queued at the same instant", async () => {
  for (const filter of [{ tenant: globex }, { tenant: globex, orchestration: "orch_1" }]) {
    const { ids } = await listAll(filter, 137);
    const expected = Array.from({ length: RUNS }, (_, n) => RUNS - n).filter(
      (n) => n % 2 === 1 && (filter.orchestration === undefined || n % 20 === 1),
    );
    expect(ids.map(number)).toEqual(expected);
  }
});

test("a session's runs are those of its tenant", async () => {
  expect((await listAll({ tenant: acme, session: "s2" }, 200)).ids).toHaveLength(15);
  expect((await listAll({ tenant: globex, session: "s2" }, 200)).ids).toEqual([]);
  expect((await listAll({ session: "s2" }, 200)).ids).toHaveLength(15);
});

test("a page with a filter that no index has examines a bounded number of runs, and says where to go on", async () => {
  const { runs, next } = await listRuns(
    store.sql,
    { ...ALL, tenant: acme, metadata: [{ key: "n", value: "10" }] },
    null,
    50,
  );
  expect([runs, next?.run_id]).toEqual([[], expect.stringMatching(/^run_/)]);
  const all = await listAll({ tenant: acme, metadata: [{ key: "n", value: "10" }] }, 50);
  expect([all.ids.map(number), all.pages]).toEqual([[10], Math.ceil(RUNS / 2 / EXAMINED)]);
});

test("a metadata filter finds texts, numbers and truth values, only at the top, and no run's metadata spoils it", async () => {
  const run = async (metadata: object) => store.accept({ metadata: JSON.stringify(metadata) });
  const text = await run({ plan: "7" });
  const number7 = await run({ plan: 7, note: "\0" });
  const truth = await run({ plan: true });
  await run({ inner: { plan: "7" }, plan: null });
  await run({ plan: "77", half: "\ud800" });
  await run({ plan: "7", large: "x".repeat(20_000) });
  const find = async (value: string) =>
    (await listAll({ tenant: acme, metadata: [{ key: "plan", value }] }, 200)).ids;
  expect(new Set(await find("7"))).toEqual(new Set([text, number7]));
  expect(await find("true")).toEqual([truth]);
  expect(await find("null")).toEqual([]);
});

test("a page ends before it has more than 1 MiB of metadata, and the next one goes on after it", async () => {
  const large = JSON.stringify({ text: "x".repeat(400_000) });
  const ids = await Promise.all(
    Array.from({ length: 5 }, () => store.accept({ metadata: large, session_id: "large" })),
  );
  const page = await listRuns(store.sql, { ...ALL, tenant: acme, session: "large" }, null, 50);
  expect(page.runs).toHaveLength(3);
  expect(new Set((await listAll({ tenant: acme, session: "large" }, 50)).ids)).toEqual(new Set(ids));
});
