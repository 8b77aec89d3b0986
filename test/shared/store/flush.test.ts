import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newIncarnation, newRunId } from "../../../shared/contracts/ids.ts";
import { handBack } from "../../../shared/store/runs/claim-runs.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { findCommitted, readStoredPage } from "../../../shared/store/journal/read-journal.ts";
import { entriesAfter, viewerPage } from "../../services/journal-pages.ts";
import type { NewEntry } from "../../../shared/store/journal/new-entry.ts";
import { stepEntry, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;

beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

const call = (name: string, cost: number) => ({
  call: name,
  provider: "demo",
  model: "demo/fast",
  input_tokens: 10,
  output_tokens: 5,
  cost_micro_usd: cost,
});

// Fails when pages of event lines are bounded in entries alone.
test("a page of event lines has at most 64 KiB for viewers, 256 KiB for clients, and one entry more", async () => {
  const run = await store.startRun();
  const events = JSON.stringify({ type: "llm_delta", text: "x".repeat(40_000) });
  for (let known_seq = 0; known_seq < 10; known_seq++) {
    await flush(store.sql, [
      stepEntry(run, { kind: "note", known_seq, output: null, steps: 0, events, events_n: 1 }),
    ]);
  }
  const numbers = (entries: readonly { seq: number }[]) => entries.map(({ seq }) => seq);
  expect(numbers(await viewerPage(store.sql, run.run_id, 0))).toEqual([1, 2]);
  expect(numbers(await entriesAfter(store.sql, run.run_id, 2, 1_000))).toEqual([3, 4, 5, 6, 7, 8, 9]);
  expect(numbers(await entriesAfter(store.sql, run.run_id, 0, 2))).toEqual([1, 2]);
});

describe("a flush", () => {
  test("commits the result, its events and the change of the run together, and returns the run's position", async () => {
    const run = await store.startRun();
    expect(await flush(store.sql, [stepEntry(run)])).toEqual([
      { run_id: run.run_id, event_seq: 2, signals: 0, cancel: false, webhook: false, frees_key: false },
    ]);
    expect(await store.row(run.run_id)).toMatchObject({
      status: "running",
      event_seq: 2,
      step_count: 1,
      current_step_id: "b",
    });
    expect(await entriesAfter(store.sql, run.run_id, 0, 10)).toEqual([
      { seq: 2, events_n: 2, events: stepEntry(run).events },
    ]);
    expect(await readStoredPage(store.sql, run.run_id, 0, 2)).toEqual({
      entries: [{ seq: 2, kind: "step", step_path: "a", output: "{}", events: null, age_ms: null }],
      more: false,
      rewinds: [],
    });
  });

  // Fails when that part is not in the fence.
  test.each([
    ["attempt", (entry: NewEntry) => ({ ...entry, attempt: entry.attempt + 1 })],
    ["owner", (entry: NewEntry) => ({ ...entry, owner: newIncarnation("w") })],
    ["number of events", (entry: NewEntry) => ({ ...entry, known_seq: 1 })],
    ["run", (entry: NewEntry) => ({ ...entry, run_id: newRunId(Date.now()) })],
  ])("with a fence that is wrong in the %s only changes nothing", async (_name, wrong) => {
    const run = await store.startRun();
    const entry = wrong(stepEntry(run, { usage: [call("c", 1)], status: "completed", kind: "end" }));
    const before = await store.row(run.run_id);
    expect(await flush(store.sql, [entry])).toEqual([]);
    expect(await store.row(run.run_id)).toEqual(before);
    const [written] = await store.sql`select (select count(*) from journal where run_id = ${entry.run_id})
      + (select count(*) from usage where run_id = ${entry.run_id}) as n`;
    expect(written?.n).toBe("0");
  });

  // Fails when the rows of files do not come out of the statement that moves the run.
  test("commits the files of its calls, of a session under that session, or none of them", async () => {
    const run = await store.startRun();
    await store.sql`update runs set session_id = 's' where run_id = ${run.run_id}`;
    const file = (name: string, scope: "run" | "session") => ({
      name,
      scope,
      content_type: "text/plain",
      bytes: 1,
      sha256: "0".repeat(64),
      object_key: `acme/${run.run_id}/a/1.1/file.00000000.${name}`,
      step_path: "a",
      visit: 1,
    });
    const artifacts = [file("own", "run"), file("shared", "session")];
    const rows = () =>
      store.sql`select name, session_id, seq, attempt from artifacts where run_id = ${run.run_id} order by name`;
    await flush(store.sql, [stepEntry(run, { artifacts, attempt: run.attempt + 1 })]);
    expect([...(await rows())]).toEqual([]);
    await flush(store.sql, [stepEntry(run, { artifacts })]);
    await flush(store.sql, [stepEntry(run, { artifacts })]);
    expect([...(await rows())]).toEqual([
      { name: "own", session_id: null, seq: 2, attempt: 1 },
      { name: "shared", session_id: "s", seq: 2, attempt: 1 },
    ]);
  });

  // Fails when `owner` is not in the fence. It stands for the status, because only a running run has an owner.
  test("for a run that was handed back, or has ended, changes nothing", async () => {
    const [handedBack, ended] = [await store.startRun(), await store.startRun()];
    await handBack(store.sql, handedBack.owner, [handedBack]);
    await flush(store.sql, [stepEntry(ended, { kind: "end", status: "completed" })]);
    expect(await flush(store.sql, [stepEntry(handedBack), stepEntry(ended, { known_seq: 2 })])).toEqual([]);
  });

  test("that is repeated commits nothing, and findCommitted reports the first one", async () => {
    const run = await store.startRun();
    const entry = stepEntry(run, { usage: [call("c", 7)] });
    await flush(store.sql, [entry]);
    expect(await flush(store.sql, [entry])).toEqual([]);
    const committed = { run_id: run.run_id, seq: 2, attempt: 1 };
    expect(await findCommitted(store.sql, [committed])).toEqual([run.run_id]);
    expect(await findCommitted(store.sql, [{ ...committed, attempt: 2 }])).toEqual([]);
    expect(await findCommitted(store.sql, [{ ...committed, seq: 1 }])).toEqual([]);
    expect(await store.row(run.run_id)).toMatchObject({ event_seq: 2, cost_micro_usd: "7", step_count: 1 });
  });

  // Fails when the entry and the fence are written by two statements: both flushes would find the fence valid.
  test("that is sent several times at once is committed once", async () => {
    const run = await store.startRun();
    const results = await Promise.all(Array.from({ length: 6 }, () => flush(store.sql, [stepEntry(run)])));
    expect(results.flat()).toHaveLength(1);
    expect(await entriesAfter(store.sql, run.run_id, 0, 10)).toHaveLength(1);
  });

  test("commits the entries whose fence holds, and leaves out the others", async () => {
    const [first, fenced, second] = [await store.startRun(), await store.startRun(), await store.startRun()];
    const committed = await flush(store.sql, [
      stepEntry(first),
      stepEntry(fenced, { attempt: 9 }),
      stepEntry(second),
    ]);
    expect(new Set(committed.map(({ run_id }) => run_id))).toEqual(new Set([first.run_id, second.run_id]));
  });

  // Fails when values are pasted into the statement, or arrays are written without quotes.
  test("keeps every text unchanged", async () => {
    for (const text of [
      '"',
      "\\",
      '\\\\"',
      "\n\r\t",
      "NULL",
      "{a,b}",
      "",
      " ",
      "é\u{1F600}",
      "\u2028",
      "'; drop table runs",
    ]) {
      const run = await store.startRun();
      const output = JSON.stringify({ text, nul: "\u0000", lone: "\udfff" });
      await flush(store.sql, [stepEntry(run, { output, step_path: text })]);
      const [row] = await store.sql`select output, step_path from journal where run_id = ${run.run_id}`;
      expect(row).toEqual({ output, step_path: text });
    }
  });

  // Fails when the sum of an entry's counts is of the type of one count.
  test("commits calls with the largest counts that are stored", async () => {
    const run = await store.startRun();
    const largest = { input_tokens: 2_147_483_647, output_tokens: 2_147_483_647 };
    const usage = [
      { ...call("a", 1), ...largest },
      { ...call("b", 1), ...largest },
    ];
    expect(await flush(store.sql, [stepEntry(run, { usage })])).toHaveLength(1);
  });

  test("adds its charges to the run's totals, and inserts each", async () => {
    const [run, free] = [await store.startRun(), await store.startRun()];
    await flush(store.sql, [stepEntry(run, { usage: [call("a", 100), call("b", 23)] }), stepEntry(free)]);
    await flush(store.sql, [stepEntry(run, { known_seq: 2, usage: [call("a", 1)] })]);
    expect(await store.row(run.run_id)).toMatchObject({ tokens: "45", cost_micro_usd: "124" });
    expect(await store.row(free.run_id)).toMatchObject({ tokens: "0", cost_micro_usd: "0" });
    const rows =
      await store.sql`select seq, call, cost_micro_usd from usage where run_id = ${run.run_id} order by seq, call`;
    expect(rows.map(({ seq, call: name, cost_micro_usd }) => [seq, name, cost_micro_usd])).toEqual([
      [2, "a", "100"],
      [2, "b", "23"],
      [4, "a", "1"],
    ]);
  });

  test("with one entry that cannot be stored commits none of the others", async () => {
    const [run, culprit] = [await store.startRun(), await store.startRun()];
    const sameCallTwice = [call("a", 1), call("a", 1)];
    await expect(
      flush(store.sql, [stepEntry(run), stepEntry(culprit, { usage: sameCallTwice })]),
    ).rejects.toMatchObject({
      code: "23505",
    });
    expect(await store.row(run.run_id)).toMatchObject({ event_seq: 0 });
  });

  test("with a result sets the crash count to zero, and with a note does not", async () => {
    const [noted, stepped] = [await store.startRun(), await store.startRun()];
    await store.sql`update runs set crash_count = 2 where run_id in (${noted.run_id}, ${stepped.run_id})`;
    await flush(store.sql, [stepEntry(noted, { kind: "note", steps: 0 }), stepEntry(stepped)]);
    expect(await store.row(noted.run_id)).toMatchObject({ crash_count: 2 });
    expect(await store.row(stepped.run_id)).toMatchObject({ crash_count: 0 });
  });

  test("sets the deadline, and returns the signals and the cancel that came from outside", async () => {
    const run = await store.startRun();
    await store.sql`update runs set signals = 3, cancel_requested_at = now() where run_id = ${run.run_id}`;
    const [committed] = await flush(store.sql, [stepEntry(run, { deadline_ms: 120_000 })]);
    expect(committed).toMatchObject({ signals: 3, cancel: true });
    const [row] =
      await store.sql`select extract(epoch from deadline_at - now())::float8 as s from runs where run_id = ${run.run_id}`;
    expect(row?.s).toBeGreaterThan(118);
    expect(row?.s).toBeLessThan(121);
  });
});

describe("a park", () => {
  const park = { kind: "park", status: "queued", wake_ms: 30_000, steps: 0 } as const;

  test("gives up the run's owner and sets its wake-up", async () => {
    const run = await store.startRun();
    await flush(store.sql, [stepEntry(run, park)]);
    expect(await store.row(run.run_id)).toMatchObject({ status: "queued", owner: null, ended_at: null });
    const [row] =
      await store.sql`select extract(epoch from wake_at - now())::float8 as s from runs where run_id = ${run.run_id}`;
    expect(row?.s).toBeGreaterThan(28);
  });

  // Fails when `signals` is not in its condition: the run would sleep although an answer has come.
  test("that does not know of a signal is refused, and a result that does not know of one is committed", async () => {
    const run = await store.startRun();
    await store.sql`update runs set signals = signals + 1 where run_id = ${run.run_id}`;
    expect(await flush(store.sql, [stepEntry(run, park)])).toEqual([]);
    expect(await flush(store.sql, [stepEntry(run)])).toMatchObject([{ signals: 1 }]);
    expect(await flush(store.sql, [stepEntry(run, { ...park, known_seq: 2, signals: 1 })])).toHaveLength(1);
  });
});

describe("an end", () => {
  test("clears the run's owner and its wake-up", async () => {
    for (const status of ["completed", "failed", "cancelled"] as const) {
      const run = await store.startRun();
      const error = status === "failed" ? '{"code":"c","message":"m","step_id":null}' : null;
      await flush(store.sql, [stepEntry(run, { kind: "end", status, error, current_step: null })]);
      const row = await store.row(run.run_id);
      expect(row).toMatchObject({
        status,
        owner: null,
        wake_at: null,
        error,
        current_step_id: null,
        step_count: 1,
      });
      expect(row["ended_at"]).toBeInstanceOf(Date);
    }
  });

  test("in failure inserts one dead letter, and other ends insert none", async () => {
    const [failed, completed] = [await store.startRun(), await store.startRun()];
    const dead_letter = {
      code: "c",
      message: "m\u0000",
      stack: "s",
      step_id: "a",
      tries: 3,
      first_failed_at: null,
    };
    const end = { kind: "end", current_step: null } as const;
    await flush(store.sql, [
      stepEntry(failed, { ...end, status: "failed", dead_letter }),
      stepEntry(completed, { ...end, status: "completed" }),
    ]);
    const rows = await store.sql`select run_id, seq, code, tries, attempt, resolved_at from dead_letters`;
    expect(rows.map((row) => ({ ...row }))).toEqual([
      { run_id: failed.run_id, seq: 2, code: "c", tries: 3, attempt: 1, resolved_at: null },
    ]);
  });

  // Fails when the first failure is shown after the last: a worker's clock may be ahead of that of Postgres.
  test("in failure has its first failure at the end or before it", async () => {
    const [once, often, ahead] = [await store.startRun(), await store.startRun(), await store.startRun()];
    const letter = { code: "c", message: "m", stack: null, step_id: "a", tries: 1, first_failed_at: null };
    const end = { kind: "end", current_step: null, status: "failed" } as const;
    const before = "2026-01-02T03:04:05.678Z";
    const after = new Date(Date.now() + 3_600_000).toISOString();
    await flush(store.sql, [
      stepEntry(once, { ...end, dead_letter: letter }),
      stepEntry(often, { ...end, dead_letter: { ...letter, tries: 2, first_failed_at: before } }),
      stepEntry(ahead, { ...end, dead_letter: { ...letter, tries: 2, first_failed_at: after } }),
    ]);
    const rows = await store.sql<{ run_id: string; first: Date; last: Date }[]>`
      select run_id, first_failed_at as first, failed_at as last from dead_letters`;
    const timesOf = new Map(rows.map(({ run_id, first, last }) => [run_id, { first, last }]));
    expect(timesOf.get(often.run_id)?.first.toISOString()).toBe(before);
    for (const { run_id } of [once, ahead])
      expect(timesOf.get(run_id)?.first).toEqual(timesOf.get(run_id)?.last);
  });
});

// Fails when a flush changes an indexed column: each step would then write to every index of `runs`.
test("a series of flushes updates rows in place", async () => {
  const runs = await Promise.all(Array.from({ length: 20 }, () => store.startRun()));
  const updates = async () => {
    await store.sql`select pg_stat_force_next_flush()`;
    const [stat] =
      await store.sql`select n_tup_upd::int as n, n_tup_hot_upd::int as hot from pg_stat_user_tables where relname = 'runs'`;
    return { n: Number(stat?.n), hot: Number(stat?.hot) };
  };
  const reserved = await store.sql.reserve();
  try {
    await reserved`select pg_stat_force_next_flush()`;
    const before = await updates();
    for (let i = 0; i < 25; i++) {
      await flush(
        reserved,
        runs.map((run) => stepEntry(run, { known_seq: 2 * i })),
      );
    }
    await reserved`select pg_stat_force_next_flush()`;
    await reserved`select 1`;
    const after = await updates();
    expect(after.n - before.n).toBeGreaterThanOrEqual(500);
    // Nearly all updates are in place, or none. Some are not while another transaction (vacuum) keeps old row versions, and
    // with them their space, alive.
    expect((after.hot - before.hot) / (after.n - before.n)).toBeGreaterThan(0.3);
  } finally {
    reserved.release();
  }
});
