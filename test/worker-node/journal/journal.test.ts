import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import { linesOf } from "../../../shared/events/lines.ts";
import type { LiveEntry } from "../../../shared/events/live.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import type { Outcome } from "../../../worker-node/journal/entry-queue.ts";
import type { Append, RunLog } from "../../../worker-node/journal/run-log.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import { pace, until } from "../../services/waiting.ts";
import { POISON, FakeStore, SqlError } from "../fake-store.ts";
import type { LinkFault } from "../fake-store.ts";

const owner = newIncarnation("w");
const delta: RunEvent = { type: "llm_delta", orch_step_id: "a", text: "t" };
const thought: RunEvent = { type: "thinking", orch_step_id: "a", step_name: "a", message: "m" };
const complete: RunEvent = { type: "step_complete", orch_step_id: "a", step_name: "a", duration_seconds: 0 };

const visit = { step_path: "a", visit: 1, output: "{}", events: [complete], usage: [] };
const step = { ...visit, kind: "step", deadline_ms: 60_000, current_step: "a" } satisfies Append;
const turn = { ...visit, kind: "turn", deadline_ms: 60_000 } satisfies Append;
const park = {
  ...visit,
  kind: "park",
  status: "queued",
  wake_ms: 1_000,
  waits: [],
  signals: 0,
  deadline_ms: 0,
} satisfies Append;
const end = (status: "completed" | "failed"): Append => ({
  ...visit,
  kind: "end",
  status,
  error: null,
  dead_letter: null,
});

let store: FakeStore;
/** The published entries, in order. */
let live: LiveEntry[];
/** Entries that were published before their commit: a defect. */
let tooEarly: LiveEntry[];
let journal: Journal;

beforeEach(() => begin());

function begin(): void {
  const fake = new FakeStore();
  const published: LiveEntry[] = [];
  const early: LiveEntry[] = [];
  store = fake;
  live = published;
  tooEarly = early;
  journal = new Journal(owner, fake.store, (entries) => {
    early.push(...entries.filter(({ run, seq }) => fake.row(run).event_seq < seq));
    published.push(...entries);
  });
}

const open = (stop = new AbortController()): RunLog => journal.open(store.open(owner), stop);
const openMany = (count: number): RunLog[] => Array.from({ length: count }, () => open());
/** Waits until so many flushes have begun. */
const untilFlushed = (flushes: number) =>
  until("the flush is under way", () => store.batches.length >= flushes);
/** Waits for the commit of an event that is noted now: all that was noted before and is still to come has been committed. */
async function untilLaterNote(): Promise<RunId> {
  const log = open();
  log.note([thought]);
  await until("the later event is committed", () => store.entriesOf(log.run).length === 1);
  return log.run;
}
const typesOf = (run: RunId): string[] =>
  store
    .entriesOf(run)
    .flatMap(({ events }) => Array.from(events.matchAll(/"type":"(\w+)"/g), ([, type]) => type ?? ""));

/** The outcome of an append; one that rejects as superseded was fenced. */
async function outcomeOf(append: Promise<Outcome>): Promise<Outcome> {
  return append.catch((error: unknown) => {
    if (error instanceof Stop && error.why === "superseded") return { is: "fenced" };
    throw error;
  });
}

// Fails when events that waited for a result get its time, and when a viewer gets other lines than the journal.
test.each(["short", "coded"] as const)("%s lines are those of the same events", async (format) => {
  journal = new Journal(owner, store.store, (entries) => live.push(...entries), format);
  const log = open();
  log.note([thought, thought]);
  await log.append({ ...step, events: [thought, thought] });
  const stored = store.entriesOf(log.run).map(({ events }) => events);
  expect(stored.join("\n")).toContain(",\n");
  expect(live.map(({ events }) => events)).toEqual(stored);
  for (const line of stored.flatMap(linesOf))
    expect(JSON.parse(line)).toMatchObject({ ...thought, ts: expect.any(String) });
});

describe("a flush", () => {
  test("takes the entries that arrived during the flush before it, one for each run", async () => {
    const logs = openMany(20);
    store.linkFaults.push({ is: "slow", ms: 30 });
    const first = logs[0]?.append(step);
    await untilFlushed(1);
    await Promise.all([first, ...logs.slice(1).map((log) => log.append(step))]);
    expect(store.batches).toEqual([1, 19]);
  });

  test("takes at most 256 entries, and about 4 MiB", async () => {
    await Promise.all(openMany(600).map((log) => log.append(step)));
    expect(store.batches).toEqual([256, 256, 88]);
    store.batches.length = 0;
    const output = `"${"x".repeat(1024 * 1024)}"`;
    await Promise.all(openMany(10).map((log) => log.append({ ...step, output })));
    expect(store.batches).toEqual([4, 4, 2]);
  });

  // Fails when `append` replaces an entry that still waits: the charge of the first would be lost.
  test("commits the entries of a run in the order of their appends, also of appends that nothing awaits", async () => {
    const log = open();
    const outcomes = await Promise.all([
      log.append({ ...turn, step_path: "first" }),
      log.append({ ...step, step_path: "second" }),
      log.append({ ...end("failed"), step_path: "third" }),
    ]);
    expect(outcomes.map(({ is }) => is)).toEqual(["committed", "committed", "committed"]);
    expect(store.entriesOf(log.run).map(({ step_path }) => step_path)).toEqual(["first", "second", "third"]);
  });
});

describe("an entry that alone takes Postgres too long", () => {
  /** Postgres ends each flush that holds an entry of this step. */
  const timesOut = (path: string) => {
    const { flush } = store.store;
    store.store.flush = async (entries) => {
      if (entries.some(({ step_path }) => step_path === path)) throw new SqlError("57014");
      return flush(entries);
    };
  };

  // Fails when such an entry is flushed for ever, or keeps the entries beside it from their commit.
  test("is rejected, and the entries beside it are committed", async () => {
    timesOut("slow");
    const [slow, ...others] = openMany(5).map((log, i) =>
      log.append({ ...step, step_path: i === 0 ? "slow" : "a" }),
    );
    expect(await slow).toMatchObject({ is: "rejected" });
    expect((await Promise.all(others)).map(({ is }) => is)).toEqual(Array(4).fill("committed"));
  });

  // Fails when a Postgres under load costs a run its result.
  test("is flushed again while Postgres is slow with small queries too", async () => {
    let timeouts = 0;
    const { flush } = store.store;
    store.store.readRunSnapshots = () => Promise.reject(new SqlError("57014"));
    store.store.flush = async (entries) => {
      if (++timeouts < 6) throw new SqlError("57014");
      return flush(entries);
    };
    expect(await open().append(step)).toMatchObject({ is: "committed" });
  });
});

// Fails when a text that is too long to be made is flushed again and again.
test("an entry that is too long to be sent is rejected", async () => {
  store.store.flush = () => Promise.reject(new RangeError("Invalid string length"));
  expect(await open().append(step)).toMatchObject({ is: "rejected" });
});

describe("pending events", () => {
  test("are committed with the result that follows, before its own events", async () => {
    const log = open();
    log.note([thought]);
    await log.append(step);
    expect(typesOf(log.run)).toEqual(["thinking", "step_complete"]);
    expect(store.entries).toHaveLength(1);
    await untilLaterNote();
    expect(store.entriesOf(log.run)).toHaveLength(1);
  });

  test("are committed alone after 10 ms, and pieces of text after 50", async () => {
    const [withText, withThought] = [open(), open()];
    const notedMs = performance.now();
    withText.note([delta]);
    withThought.note([thought]);
    withText.note([delta]);
    const kindsOf = ({ run }: RunLog) => store.entriesOf(run).map(({ kind, events_n }) => [kind, events_n]);
    await expect.poll(() => kindsOf(withThought), { interval: 2 }).toEqual([["note", 1]]);
    expect(performance.now() - notedMs).toBeGreaterThan(9);
    await expect.poll(() => kindsOf(withText), { interval: 2 }).toEqual([["note", 2]]);
    expect(performance.now() - notedMs).toBeGreaterThan(49);
    expect(store.entries.map(({ run_id }) => run_id)).toEqual([withThought.run, withText.run]);
  });

  test("that are noted while an entry is in flight follow it", async () => {
    const log = open();
    store.linkFaults.push({ is: "slow", ms: 20 });
    const first = log.append(step);
    await untilFlushed(1);
    log.note([thought]);
    await first;
    await expect.poll(() => typesOf(log.run)).toEqual(["step_complete", "thinking"]);
    expect(log.knownSeq).toBe(2);
  });

  // Fails when a note without events makes an entry: Postgres refuses one, and the runs in its batch wait for the halving.
  test("are in no entry when there are none", async () => {
    const log = open();
    log.note([]);
    const later = open();
    later.note([delta]);
    await until("the later event is committed", () => store.entriesOf(later.run).length === 1);
    expect(store.entriesOf(log.run)).toEqual([]);
  });

  test("are dropped when the log is closed", async () => {
    const log = open();
    log.note([thought]);
    log.close();
    await untilLaterNote();
    expect(store.entriesOf(log.run)).toEqual([]);
  });

  // Fails when work that a step's timeout left behind can still note events.
  test("cannot be added to a closed log", async () => {
    const log = open();
    log.close();
    log.note([thought]);
    await untilLaterNote();
    expect(store.entriesOf(log.run)).toEqual([]);
  });
});

describe("an entry", () => {
  test("without an event of its own gets one, because its number is that of its last event", async () => {
    const log = open();
    await log.append({ ...turn, events: [] });
    expect(typesOf(log.run)).toEqual(["checkpoint"]);
  });

  // Fails when a repeated flush counts as refused.
  test("whose reply was lost is flushed again, is stored once, and counts as committed", async () => {
    const log = open();
    store.linkFaults.push({ is: "lose" });
    expect(await log.append(step)).toMatchObject({ is: "committed" });
    expect(store.batches).toEqual([1, 1]);
    expect(store.entries).toHaveLength(1);
    expect(live).toMatchObject([{ run: log.run, seq: 1, events_n: 1, last: false }]);
    expect(await log.append(step)).toMatchObject({ is: "committed" });
    expect(log.knownSeq).toBe(2);
  });

  test("is flushed again until Postgres answers", async () => {
    const log = open();
    for (let i = 0; i < 5; i++) store.linkFaults.push({ is: "fail" });
    expect(await log.append(step)).toMatchObject({ is: "committed" });
    expect(store.entries).toHaveLength(1);
  });

  test("is not settled before the outcome of every entry in its flush is known", async () => {
    const [committed, fenced] = [open(), open()];
    store.row(fenced.run).attempt = 2;
    store.linkFaults.push({ is: "fail_next_query" });
    const outcomes = await Promise.all([committed.append(step), outcomeOf(fenced.append(step))]);
    expect(outcomes.map(({ is }) => is)).toEqual(["committed", "fenced"]);
    expect(store.entriesOf(committed.run)).toHaveLength(1);
    expect(live).toHaveLength(1);
  });

  test("of a run that another worker moves stops the execution as superseded, and is not published", async () => {
    for (const takeover of [
      { attempt: 2 },
      { owner: newIncarnation("w") },
      { status: "queued" as const },
      { event_seq: 7 },
    ]) {
      const stop = new AbortController();
      const log = open(stop);
      Object.assign(store.row(log.run), takeover);
      log.note([thought]);
      await expect(log.append(step)).rejects.toMatchObject({ why: "superseded" });
      expect(stop.signal.reason).toMatchObject({ why: "superseded" });
    }
    const later = await untilLaterNote();
    expect(live.map(({ run }) => run)).toEqual([later]);
    expect(store.entries.map(({ run_id }) => run_id)).toEqual([later]);
  });

  test("that parks is refused when the run's signals have changed, and the log then has the new ones", async () => {
    const stop = new AbortController();
    const log = open(stop);
    log.note([thought]);
    Object.assign(store.row(log.run), { signals: 3, cancel_requested_at: 1 });
    expect(await log.append(park)).toEqual({ is: "refused", signals: 3, cancel: true });
    expect(log.signals).toBe(3);
    expect(stop.signal.reason).toMatchObject({ why: "cancel" });
    expect(await log.append({ ...park, signals: log.signals })).toMatchObject({ is: "committed" });
    expect(typesOf(log.run)).toEqual(["thinking", "step_complete"]);
  });

  // Fails when the whole batch is rejected, or repeated for ever.
  test("that Postgres will never accept is rejected alone, and its pending events stay pending", async () => {
    const logs = openMany(9);
    const [culprit] = logs;
    culprit?.note([thought]);
    const outcomes = await Promise.all(
      logs.map((log, i) => log.append(i === 0 ? { ...step, output: POISON } : step)),
    );
    expect(outcomes.map(({ is }) => is)).toEqual(["rejected", ...Array(8).fill("committed")]);
    expect(store.entries).toHaveLength(8);
    await culprit?.append(end("failed"));
    expect(culprit && typesOf(culprit.run)).toEqual(["thinking", "step_complete"]);
  });

  test("waits until the run's entry in flight is settled", async () => {
    const log = open();
    store.linkFaults.push({ is: "slow", ms: 20 });
    const first = log.append(step);
    await untilFlushed(1);
    const second = log.append(step);
    await Promise.all([first, second]);
    expect(store.entriesOf(log.run).map(({ known_seq }) => known_seq)).toEqual([0, 1]);
  });

  test("that ends its run is published as the last one", async () => {
    const log = open();
    await log.append(end("completed"));
    expect(live).toMatchObject([{ last: true }]);
  });
});

// Fails when entries are published before the flush, a lost reply counts as a refusal, or `knownSeq` is not raised.
test("after any faults a run's journal has no gap, each append settles once, and nothing is published before its commit", async () => {
  const linkFault: fc.Arbitrary<LinkFault> = fc.oneof(
    fc.constant<LinkFault>({ is: "ok" }),
    fc.constant<LinkFault>({ is: "fail" }),
    fc.constant<LinkFault>({ is: "lose" }),
    fc.constant<LinkFault>({ is: "fail_next_query" }),
    fc.record({ is: fc.constant("slow" as const), ms: fc.integer({ min: 1, max: 15 }) }),
  );
  const command = fc.constantFrom("note" as const, "step" as const, "poison" as const, "pause" as const);
  const history = fc.record({
    linkFaults: fc.array(linkFault, { maxLength: 12 }),
    runs: fc.array(fc.array(command, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 }),
    isTakenOver: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(history, async ({ linkFaults, runs, isTakenOver }) => {
      begin();
      store.linkFaults.push(...linkFaults.filter((each, i) => each.is !== "fail" || i < 4));
      const logs = runs.map(() => open());
      const outcomes = await Promise.all(
        logs.map((log, i) => runCommands(log, runs[i] ?? [], isTakenOver && i === 0)),
      );
      await untilLaterNote();
      for (const [i, log] of logs.entries()) {
        let seq = 0;
        for (const entry of store.entriesOf(log.run)) {
          expect(entry.known_seq).toBe(seq);
          expect(entry.events.split("\n")).toHaveLength(entry.events_n);
          seq += entry.events_n;
        }
        expect(store.row(log.run).event_seq).toBe(seq);
        const committed = outcomes[i]?.filter(({ is }) => is === "committed").length;
        expect(store.entriesOf(log.run).filter(({ kind }) => kind === "step")).toHaveLength(committed ?? 0);
        expect(live.filter(({ run }) => run === log.run).map((entry) => entry.seq)).toEqual(
          store.entriesOf(log.run).map((entry) => entry.known_seq + entry.events_n),
        );
      }
      expect(tooEarly).toEqual([]);
    }),
    { numRuns: 40 },
  );
});

async function runCommands(
  log: RunLog,
  commands: readonly string[],
  isTakenOver: boolean,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [i, command] of commands.entries()) {
    if (isTakenOver && i === 2) store.row(log.run).attempt += 1;
    if (command === "note") log.note([thought]);
    else if (command === "pause") await pace(12);
    else {
      const output = command === "poison" ? POISON : "{}";
      outcomes.push(await outcomeOf(log.append({ ...step, output })));
    }
  }
  log.note([delta]);
  outcomes.push(await outcomeOf(log.append(step)));
  return outcomes;
}
