import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { ExecutionHarness, llm, print, steps } from "./execution-harness.ts";
import { SqlError } from "../fake-store.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
});
// Fails when an entry is committed that the next worker, or the edge, cannot read.
afterEach(() => harness.checkEntries());

describe("a question", () => {
  const human = { type: "human", human_prompt: "Go on?", human_timeout_seconds: 60 };
  const wait = {
    wait_id: "a:1",
    kind: "human" as const,
    child_run_id: null,
    state: "open" as const,
    due_in_ms: 20_000,
    open_for_ms: 40_000,
    answer: null,
    answered_by: null,
  };
  const answered = { ...wait, state: "answered" as const, answer: '"yes"', answered_by: "key_1" };
  beforeEach(() => {
    harness.definition = steps(
      { id: "a", ...human, output_key: "answer", next_step_id: "b" },
      { id: "b", ...print },
    );
  });
  const entriesOf = (run: ClaimedRun) =>
    harness.store.entriesOf(run.run_id).filter(({ kind }) => kind !== "note");

  test("is stored with the park, and the run is paused until the deadline", async () => {
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
    expect(entriesOf(run)).toMatchObject([
      {
        kind: "park",
        status: "paused",
        wake_ms: 60_000,
        waits: [{ wait_id: "a:1", step_id: "a", kind: "human", prompt: "Go on?", deadline_ms: 60_000 }],
      },
    ]);
  });

  // Fails when the run's timeout goes on while the run waits for a person.
  test("gives a person the whole time, however little the run has left", async () => {
    const { ending } = harness.begin({ running_for_ms: 30 * 60_000 - 5_000 });
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
  });

  /** The journal entry of a run that asked its question. */
  const parkEntry = (waitId = "a:1") => ({
    seq: 3,
    kind: "park" as const,
    output: JSON.stringify({ step: "a", visit: 1, reason: "answer", wait_id: waitId }),
  });
  const beginAgain = (...laterEntries: StoredEntry[]) =>
    harness.begin({ attempt: 1, event_seq: 5 }, [parkEntry(), ...laterEntries]);
  const rewind = { seq: 5, kind: "rewind" as const, output: '{"keep_seq":4}' };

  // Fails when a run that woke without an answer starts the time of its question again, or asks a second time.
  test("that stays open keeps its deadline", async () => {
    harness.readWaits = async () => [wait];
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
    expect(entriesOf(run)).toMatchObject([{ wake_ms: 20_000, waits: [], kind: "park" }]);
    expect(harness.eventsOf(run)).not.toContain("human_input_required");
  });

  // Fails when the park carries the signals of the moment in which it is appended. The beat has received the answer's
  // signal by then, the read before it has not seen the answer, and the run would pause with its answer.
  test("whose answer arrives between the read and the park is read again", async () => {
    let reads = 0;
    harness.readWaits = async (id) => {
      reads += 1;
      if (reads > 1) return [answered];
      harness.store.row(id).signals = 1;
      runLog.signals = 1;
      return [wait];
    };
    const { run, runLog, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(reads).toBe(2);
    expect(entriesOf(run).map(({ kind }) => kind)).toEqual(["step", "end"]);
    expect(entriesOf(run)[0]?.output).toContain('"answer":"yes"');
  });

  // Fails when the park of a cancelled run is repeated, or the run does not end.
  test("of a run that is cancelled at that moment does not keep the run from its end", async () => {
    harness.readWaits = async (id) => {
      Object.assign(harness.store.row(id), { signals: 1, cancel_requested_at: 1 });
      return [wait];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
  });

  // Fails when the answer is read within the step's timeout: a Postgres that is unreachable for long would use it up.
  test("is answered, even if the store is unreachable for longer than the step's timeout", async () => {
    harness.definition = steps({ id: "a", ...human, timeout_seconds: 1, output_key: "answer" });
    const backMs = performance.now() + 1_600;
    harness.readWaits = async () => {
      if (performance.now() < backMs) throw new SqlError("57P01");
      return [answered];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
  });

  // Fails when a retry of the run loses an answer: the person would get the same question again.
  test("that was answered in an earlier life of the run stays answered", async () => {
    harness.readWaits = async (_id, names) => (names.includes("a:1") ? [answered] : []);
    const { run, ending } = beginAgain(rewind);
    expect(await ending).toEqual({ is: "ended" });
    expect(entriesOf(run)[0]?.output).toContain('"answer":"yes"');
    expect(harness.eventsOf(run)).toMatch(/"type":"human_response".*"question_id":"a:1"/);
  });

  // Fails when a question that expired in an earlier life fails this one, or a retry from before the question keeps its answer.
  test.each([
    ["was not answered", rewind, { ...wait, state: "expired" as const }],
    ["is repeated", { ...rewind, output: '{"keep_seq":2}' }, answered],
  ])("of an earlier life of the run that %s is asked again", async (_what, cut, found) => {
    harness.readWaits = async (_id, names) => (names.includes("a:1") ? [found] : []);
    const { run, ending } = beginAgain(cut);
    expect(await ending).toMatchObject({ is: "parked" });
    expect(entriesOf(run)).toMatchObject([{ waits: [{ wait_id: "a:1:r1" }] }]);
    expect(harness.eventsOf(run)).toContain('"question_id":"a:1:r1"');
  });

  describe("that goes to a further group", () => {
    const waiting = { ...wait, level: 0, prompt: "Go on?" };
    const branches = { id: "a", type: "parallel", parallel_branches: [["x"], ["y"]] };
    const escalating = {
      ...human,
      approvers: ["ann"],
      escalate_to: [{ after_seconds: 30, approvers: ["bob"] }],
    };
    beforeEach(() => {
      harness.definition = steps({ id: "a", ...escalating, next_step_id: "b" }, { id: "b", ...print });
    });

    test("wakes its run before the deadline, and notifies the group with the park that stores its level", async () => {
      const first = harness.begin();
      expect(await first.ending).toMatchObject({ is: "parked", delayMs: 30_000 });
      expect(entriesOf(first.run)).toMatchObject([{ waits: [{ approvers: ["ann"], deadline_ms: 60_000 }] }]);
      harness.readWaits = async () => [waiting];
      const { run, ending } = beginAgain();
      expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
      expect(entriesOf(run)).toMatchObject([
        { wake_ms: 20_000, signals: 0, waits: [{ wait_id: "a:1", level: 1, approvers: ["ann", "bob"] }] },
      ]);
      expect(harness.eventsOf(run)).toMatch(/"type":"human_escalated".*"question_id":"a:1"/);
    });

    // Fails when the group is notified again after a crash: the level of the wait says that its notification was committed.
    test("notifies it once", async () => {
      harness.readWaits = async () => [{ ...waiting, level: 1 }];
      const { run, ending } = beginAgain();
      expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
      expect(entriesOf(run)).toMatchObject([{ waits: [] }]);
      expect(harness.eventsOf(run)).not.toContain("human_escalated");
    });

    // Fails when a group is notified of a question that was answered meanwhile, also while another branch moves.
    test.each([
      ["the run parks", steps({ id: "a", ...escalating })],
      ["another branch moves", steps(branches, { id: "x", ...escalating }, { id: "y", ...llm })],
    ])("is not announced to it when the answer arrives first, while %s", async (when, definition) => {
      harness.definition = definition;
      const inBranch = when === "another branch moves";
      const path = inBranch ? "a[0].x" : "a";
      const { promise: isAnswered, resolve } = Promise.withResolvers<void>();
      harness.generate = async () => {
        await isAnswered;
        return "text";
      };
      let reads = 0;
      harness.readWaits = async (id) => {
        reads += 1;
        const named = { ...waiting, wait_id: `${path}:1` };
        if (reads > 1) {
          resolve();
          return [{ ...named, state: "answered", answer: '"yes"', answered_by: "key_1" }];
        }
        harness.store.row(id).signals = 1;
        return [named];
      };
      const place = inBranch ? { track: [0], step: "x" } : { step: "a" };
      const park = { ...place, visit: 1, reason: "answer", wait_id: `${path}:1` };
      const fork = { in: "branches", count: 2, began_at: "2026-06-04T00:00:00.000Z", run_ms: 0 };
      const begun = {
        seq: 2,
        kind: "turn" as const,
        output: JSON.stringify({ step: "a", visit: 1, data: null, fork }),
      };
      const { run, ending } = harness.begin({ attempt: 1, event_seq: 5 }, [
        ...(inBranch ? [begun] : []),
        { seq: 3, kind: "park", output: JSON.stringify(park) },
      ]);
      expect(await ending).toEqual({ is: "ended" });
      expect(harness.store.row(run.run_id).status).toBe("completed");
      expect(harness.eventsOf(run)).not.toContain("human_escalated");
    });
  });
});
