import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { Wait } from "../../../shared/store/runs/waits.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { until } from "../../services/waiting.ts";
import { ExecutionHarness, print, steps } from "./execution-harness.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  harness.definition = steps(
    { id: "a", type: "wait", wait_seconds: 60, next_step_id: "b" },
    { id: "b", ...print },
  );
});
afterEach(() => {
  vi.restoreAllMocks();
  // Fails when an entry is committed that the next worker, or the edge, cannot read.
  harness.checkEntries();
});

const timer = (changes: Partial<Wait>): Wait => ({
  wait_id: "a:1",
  kind: "timer",
  child_run_id: null,
  state: "open",
  due_in_ms: 20_000,
  open_for_ms: 40_000,
  answer: null,
  answered_by: null,
  ...changes,
});
const expiredTimer = timer({ state: "expired", due_in_ms: -5, open_for_ms: 60_005, answered_by: "deadline" });
const parkEntry: StoredEntry = {
  seq: 3,
  kind: "park",
  output: JSON.stringify({ step: "a", visit: 1, reason: "timer", wait_id: "a:1" }),
};
const beginAgain = (...laterEntries: StoredEntry[]) =>
  harness.begin({ attempt: 1, event_seq: 5 }, [parkEntry, ...laterEntries]);
const entriesOf = (run: ClaimedRun) =>
  harness.store.entriesOf(run.run_id).filter(({ kind }) => kind !== "note");

describe("a timer", () => {
  test("is stored with the park, and the run is paused until its time", async () => {
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
    expect(entriesOf(run)).toMatchObject([
      {
        kind: "park",
        step_path: "a",
        status: "paused",
        wake_ms: 60_000,
        waits: [{ wait_id: "a:1", step_id: "a", kind: "timer", prompt: null, deadline_ms: 60_000 }],
      },
    ]);
    expect(harness.eventsOf(run)).toMatch(/"type":"timer_started".*\n.*"type":"paused"/);
  });

  // Fails when a wait uses up the run's time.
  test("may last longer than the run has left", async () => {
    const { ending } = harness.begin({ running_for_ms: 30 * 60_000 - 5_000 });
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
  });

  test("that is not over yet keeps its time when another worker executes the run", async () => {
    harness.readWaits = async () => [timer({})];
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
    expect(entriesOf(run)).toMatchObject([{ kind: "park", waits: [], wake_ms: 20_000 }]);
    expect(harness.eventsOf(run)).not.toContain("timer_started");
  });

  test("that is over ends its step, which has taken the whole time", async () => {
    harness.readWaits = async () => [expiredTimer];
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    const [step] = entriesOf(run);
    expect(JSON.parse(step?.output ?? "")).toMatchObject({ step: "a", type: "wait", next: "b", set: {} });
    expect(JSON.parse(step?.output ?? "").duration_ms).toBeGreaterThanOrEqual(60_005);
  });

  // Fails when a claim that comes shortly before the time parks the run once more, or the rest is counted twice.
  test("that is nearly over keeps the slot for the rest", async () => {
    const now = performance.now.bind(performance);
    let reads = 0;
    harness.readWaits = async () => {
      reads += 1;
      if (reads === 1) return [timer({ due_in_ms: 3 })];
      // The rest took 30 s, which is part of the time that the timer has been open.
      vi.spyOn(performance, "now").mockImplementation(() => now() + 30_000);
      return [expiredTimer];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(entriesOf(run).map(({ kind }) => kind)).toEqual(["step", "end"]);
    expect(JSON.parse(entriesOf(run)[0]?.output ?? "").duration_ms).toBeLessThan(90_000);
  });

  // Fails when a retry of the run by a client starts the time again, or counts its time as over.
  test("that a client's retry closed goes on under a new name with the time that was left", async () => {
    harness.readWaits = async () => [timer({ state: "expired", answered_by: "retry" })];
    const { run, ending } = beginAgain({ seq: 5, kind: "rewind", output: '{"keep_seq":4}' });
    expect(await ending).toMatchObject({ is: "parked", delayMs: 20_000 });
    expect(entriesOf(run)).toMatchObject([{ waits: [{ wait_id: "a:1:r1", deadline_ms: 20_000 }] }]);
  });

  test("of a cancelled run does not keep the run from its end", async () => {
    const { run, ending } = harness.begin({ cancel: true });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
  });
});

describe("a timer in a branch", () => {
  const timerStep = { type: "wait", wait_seconds: 60 };
  const ask = { type: "human", human_prompt: "Go on?", human_timeout_seconds: 90 };
  const fanout = { id: "a", type: "parallel", parallel_branches: [["x"], ["y"]] };

  test("waits beside a question, and the run wakes for the earlier of both", async () => {
    harness.definition = steps(fanout, { id: "x", ...ask }, { id: "y", ...timerStep });
    const { run, ending } = harness.begin();
    const ended = await ending;
    expect(ended).toMatchObject({ is: "parked", status: "paused" });
    expect(ended.is === "parked" && ended.delayMs).toBeLessThanOrEqual(60_000);
    const waits = entriesOf(run).flatMap((entry) => entry.waits);
    expect(waits.map(({ wait_id, kind }) => `${kind} ${wait_id}`).toSorted()).toEqual([
      "human a[0].x:1",
      "timer a[1].y:1",
    ]);
  });

  // Fails when a park that is refused leaves the timer out of the journal: its time would begin anew after a crash.
  test("whose park is refused is committed before the answered branch goes on", async () => {
    harness.definition = steps(
      {
        ...fanout,
        parallel_branches: [
          ["x", "z"],
          ["w", "y"],
        ],
      },
      { id: "x", ...ask },
      { id: "y", ...timerStep },
      { id: "w", type: "llm", model: "demo/fast", prompt_template: "Write" },
      { id: "z", type: "llm", model: "demo/fast", prompt_template: "Write" },
    );
    let isAnswered = false;
    harness.readWaits = async (_run, [id = ""]) =>
      id.startsWith("a[0]")
        ? [
            {
              ...timer({ wait_id: id, kind: "human" }),
              ...(isAnswered && { state: "answered", answer: '"yes"' }),
            },
          ]
        : [timer({ wait_id: id })];
    const { flush } = harness.store.store;
    // The answer arrives while the park of the run is on its way.
    harness.store.store.flush = async (entries) => {
      for (const entry of entries) {
        if (entry.kind !== "park" || entry.status === null || isAnswered) continue;
        isAnswered = true;
        harness.store.row(entry.run_id).signals = 1;
      }
      return flush(entries);
    };
    harness.generate = async ({ effectKey }) => {
      if (effectKey.includes("z:1")) harness.stop.abort(new Stop("drain", "the worker ends"));
      else await until("x has asked", () => harness.store.entries.some(({ kind }) => kind === "park"));
      return "text";
    };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "stopped" });
    const parks = entriesOf(run).flatMap((entry) => entry.waits.map(({ wait_id }) => wait_id));
    expect(parks).toEqual(["a[0].x:1", "a[1].y:1"]);
  });
});
