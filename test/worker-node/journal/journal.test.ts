import fc from "fast-check";
import { setTimeout as sleep } from "node:timers/promises";
import { beforeEach, describe, expect, test } from "vitest";
import { newIncarnation } from "../../../shared/contracts/ids.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { RunEvent } from "../../../shared/contracts/event.ts";
import type { LiveEntry } from "../../../shared/events/live.ts";
import { Journal } from "../../../worker-node/journal/journal.ts";
import type { Append, Outcome, RunLog } from "../../../worker-node/journal/run-log.ts";
import { POISON, FakeStore } from "../fake-store.ts";
import type { Weather } from "../fake-store.ts";

const owner = newIncarnation("w");
const delta: RunEvent = { type: "llm_delta", orch_step_id: "a", text: "t" };
const thought: RunEvent = { type: "thinking", orch_step_id: "a", step_name: "a", message: "m" };

function result(changes: Partial<Append> = {}): Append {
  return {
    kind: "step",
    step_path: "a",
    visit: 1,
    output: "{}",
    deadline_ms: 60_000,
    current_step: "a",
    status: null,
    wake_ms: null,
    waits: [],
    error: null,
    dead_letter: null,
    events: [{ type: "step_complete", orch_step_id: "a", step_name: "a", duration_seconds: 0 }],
    usage: [],
    steps: 1,
    ...changes,
  };
}

let truth: FakeStore;
let live: LiveEntry[];
let tooEarly: LiveEntry[];
let journal: Journal;

beforeEach(() => begin());

function begin(): void {
  const world = new FakeStore();
  const seen: LiveEntry[] = [];
  const early: LiveEntry[] = [];
  truth = world;
  live = seen;
  tooEarly = early;
  journal = new Journal(owner, world.store, (entries) => {
    early.push(...entries.filter(({ run, seq }) => world.row(run).event_seq < seq));
    seen.push(...entries);
  });
}

const open = (): RunLog => journal.open(truth.open(owner));
const typesOf = (run: RunId): string[] =>
  truth
    .entriesOf(run)
    .flatMap(({ events }) => Array.from(events.matchAll(/"type":"(\w+)"/g), ([, type]) => type ?? ""));

describe("what runs commit", () => {
  test("is gathered while a flush is under way, one entry for each run", async () => {
    const logs = Array.from({ length: 20 }, open);
    truth.weather.push({ is: "slow", ms: 30 });
    const first = logs[0]?.append(result());
    await sleep(10);
    await Promise.all([first, ...logs.slice(1).map((log) => log.append(result()))]);
    expect(truth.batches).toEqual([1, 19]);
  });

  test("goes by at most 256 entries, and about 4 MiB, at a time", async () => {
    await Promise.all(Array.from({ length: 600 }, () => open().append(result())));
    expect(truth.batches).toEqual([256, 256, 88]);
    truth.batches.length = 0;
    const output = `"${"x".repeat(1024 * 1024)}"`;
    await Promise.all(Array.from({ length: 10 }, () => open().append(result({ output }))));
    expect(truth.batches).toEqual([4, 4, 2]);
  });

  // Red when: `append` lays what comes over what still waits: the charge of the first would be lost.
  test("one behind the other is committed in that order, also when nobody has waited", async () => {
    const log = open();
    const all = await Promise.all([
      log.append(result({ kind: "turn", step_path: "first" })),
      log.append(result({ step_path: "second" })),
      log.append(result({ kind: "end", step_path: "third", status: "failed" })),
    ]);
    expect(all.map(({ is }) => is)).toEqual(["committed", "committed", "committed"]);
    expect(truth.entriesOf(log.run).map(({ step_path }) => step_path)).toEqual(["first", "second", "third"]);
  });
});

describe("notes", () => {
  test("ride with the result that follows, before its own events", async () => {
    const log = open();
    log.note([thought]);
    await log.append(result());
    expect(typesOf(log.run)).toEqual(["thinking", "step_complete"]);
    expect(truth.entries).toHaveLength(1);
    await sleep(30);
    expect(truth.entries).toHaveLength(1);
  });

  test("go alone after 10 ms, and pieces of text after 50", async () => {
    const [talker, thinker] = [open(), open()];
    talker.note([delta]);
    thinker.note([thought]);
    await sleep(30);
    expect(truth.entriesOf(thinker.run)).toHaveLength(1);
    expect(truth.entriesOf(talker.run)).toHaveLength(0);
    talker.note([delta]);
    await sleep(50);
    expect(truth.entriesOf(talker.run).map(({ kind, events_n }) => [kind, events_n])).toEqual([["note", 2]]);
  });

  test("that come while an entry is in flight follow it", async () => {
    const log = open();
    truth.weather.push({ is: "slow", ms: 20 });
    const first = log.append(result());
    await sleep(8);
    log.note([thought]);
    await first;
    await sleep(30);
    expect(typesOf(log.run)).toEqual(["step_complete", "thinking"]);
    expect(log.knownSeq).toBe(2);
  });

  test("of a run that has left are dropped", async () => {
    const log = open();
    log.note([thought]);
    log.close();
    await sleep(30);
    expect(truth.entries).toEqual([]);
  });

  // Red when: work that a step's timeout left behind can still tell of itself.
  test("after a run has left are none", async () => {
    const log = open();
    log.close();
    log.note([thought]);
    await sleep(30);
    expect(truth.entries).toEqual([]);
  });
});

describe("an entry", () => {
  test("without an event of its own gets one, as each entry has a number", async () => {
    const log = open();
    await log.append(result({ kind: "turn", events: [], steps: 0 }));
    expect(typesOf(log.run)).toEqual(["checkpoint"]);
  });

  // Red when: a repeated flush is taken for a refused one.
  test("whose reply was lost is flushed again, is there once, and counts as committed", async () => {
    const log = open();
    truth.weather.push({ is: "lose" });
    expect(await log.append(result())).toMatchObject({ is: "committed" });
    expect(truth.batches).toEqual([1, 1]);
    expect(truth.entries).toHaveLength(1);
    expect(live).toMatchObject([{ run: log.run, seq: 1, events_n: 1, last: false }]);
    expect(await log.append(result())).toMatchObject({ is: "committed" });
    expect(log.knownSeq).toBe(2);
  });

  test("is tried for as long as it takes", async () => {
    const log = open();
    for (let i = 0; i < 5; i++) truth.weather.push({ is: "fail" });
    expect(await log.append(result())).toMatchObject({ is: "committed" });
    expect(truth.entries).toHaveLength(1);
  });

  test("whose neighbour's fate could not be asked for is not answered before it is known", async () => {
    const [kept, fenced] = [open(), open()];
    truth.row(fenced.run).attempt = 2;
    truth.weather.push({ is: "deaf" });
    const outcomes = await Promise.all([kept.append(result()), fenced.append(result())]);
    expect(outcomes.map(({ is }) => is)).toEqual(["committed", "fenced"]);
    expect(truth.entriesOf(kept.run)).toHaveLength(1);
    expect(live).toHaveLength(1);
  });

  test("of a run that is another's is fenced, and shown to nobody", async () => {
    for (const theft of [
      { attempt: 2 },
      { owner: newIncarnation("w") },
      { status: "queued" as const },
      { event_seq: 7 },
    ]) {
      const log = open();
      Object.assign(truth.row(log.run), theft);
      log.note([thought]);
      expect(await log.append(result())).toEqual({ is: "fenced" });
    }
    await sleep(30);
    expect(live).toEqual([]);
    expect(truth.entries).toEqual([]);
  });

  test("that parks is refused when signals have moved, and says what they are", async () => {
    const log = open();
    log.note([thought]);
    Object.assign(truth.row(log.run), { signals: 3, cancel_requested_at: 1 });
    const park = result({ kind: "park", status: "queued", wake_ms: 1_000, steps: 0 });
    expect(await log.append(park)).toEqual({ is: "refused", signals: 3, cancel: true });
    log.signals = 3;
    expect(await log.append(park)).toMatchObject({ is: "committed" });
    expect(typesOf(log.run)).toEqual(["thinking", "step_complete"]);
  });

  // Red when: the whole batch is rejected, or tried for ever.
  test("that Postgres will never take is rejected alone; the others commit, and its notes are still to be told", async () => {
    const logs = Array.from({ length: 9 }, open);
    const [culprit] = logs;
    culprit?.note([thought]);
    const outcomes = await Promise.all(
      logs.map((log, i) => log.append(result(i === 0 ? { output: POISON } : {}))),
    );
    expect(outcomes.map(({ is }) => is)).toEqual(["rejected", ...Array(8).fill("committed")]);
    expect(truth.entries).toHaveLength(8);
    await culprit?.append(result({ kind: "end", status: "failed" }));
    expect(culprit && typesOf(culprit.run)).toEqual(["thinking", "step_complete"]);
  });

  test("in flight is one a run: the next waits for it", async () => {
    const log = open();
    truth.weather.push({ is: "slow", ms: 20 });
    const first = log.append(result());
    await sleep(8);
    const second = log.append(result());
    await Promise.all([first, second]);
    expect(truth.entriesOf(log.run).map(({ known_seq }) => known_seq)).toEqual([0, 1]);
  });

  test("that ends its run says so to viewers", async () => {
    const log = open();
    await log.append(result({ kind: "end", status: "completed" }));
    expect(live).toMatchObject([{ last: true }]);
  });
});

// Red when: entries are shown before the flush, a lost reply is taken for a refusal, or the known number does not move.
test("whatever fails, each run's journal tiles its events, each append is answered once, nothing is shown early", async () => {
  const weather: fc.Arbitrary<Weather> = fc.oneof(
    fc.constant<Weather>({ is: "ok" }),
    fc.constant<Weather>({ is: "fail" }),
    fc.constant<Weather>({ is: "lose" }),
    fc.constant<Weather>({ is: "deaf" }),
    fc.record({ is: fc.constant("slow" as const), ms: fc.integer({ min: 1, max: 15 }) }),
  );
  const act = fc.oneof(
    fc.constant("note" as const),
    fc.constant("result" as const),
    fc.constant("poison" as const),
    fc.constant("pause" as const),
  );
  const history = fc.record({
    weather: fc.array(weather, { maxLength: 12 }),
    runs: fc.array(fc.array(act, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 5 }),
    stolen: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(history, async ({ weather: days, runs, stolen }) => {
      begin();
      truth.weather.push(...days.filter((day, i) => day.is !== "fail" || i < 4));
      const logs = runs.map(open);
      const answers = await Promise.all(logs.map((log, i) => actOn(log, runs[i] ?? [], stolen && i === 0)));
      await sleep(20);
      for (const [i, log] of logs.entries()) {
        let seq = 0;
        for (const entry of truth.entriesOf(log.run)) {
          expect(entry.known_seq).toBe(seq);
          expect(entry.events.split("\n")).toHaveLength(entry.events_n);
          seq += entry.events_n;
        }
        expect(truth.row(log.run).event_seq).toBe(seq);
        const committed = answers[i]?.filter(({ is }) => is === "committed").length;
        expect(truth.entriesOf(log.run).filter(({ kind }) => kind === "step")).toHaveLength(committed ?? 0);
        expect(live.filter(({ run }) => run === log.run).map((entry) => entry.seq)).toEqual(
          truth.entriesOf(log.run).map((entry) => entry.known_seq + entry.events_n),
        );
      }
      expect(tooEarly).toEqual([]);
    }),
    { numRuns: 40 },
  );
}, 60_000);

async function actOn(log: RunLog, acts: readonly string[], stolen: boolean): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const [i, act] of acts.entries()) {
    if (stolen && i === 2) truth.row(log.run).attempt += 1;
    if (act === "note") log.note([thought]);
    else if (act === "pause") await sleep(12);
    else outcomes.push(await log.append(result(act === "poison" ? { output: POISON } : {})));
  }
  log.note([delta]);
  outcomes.push(await log.append(result()));
  return outcomes;
}
