import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ClaimedRun } from "../../../shared/store/runs/claim.ts";
import { Given, print, steps } from "./claimed-run.ts";
import { SqlError } from "../fake-store.ts";

let given: Given;
beforeEach(() => {
  given = new Given();
});
// Red when: something is written that the next worker, or the edge, cannot read.
afterEach(() => given.checkWritten());

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
    given.definition = steps(
      { id: "a", ...human, output_key: "said", next_step_id: "b" },
      { id: "b", ...print },
    );
  });
  const entriesOf = (run: ClaimedRun) =>
    given.truth.entriesOf(run.run_id).filter(({ kind }) => kind !== "note");

  test("is stored with the park, and the run sleeps until its deadline", async () => {
    const { run, ending } = given.begin();
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

  // Red when: people have no longer than the run has left: its time stands still while they have it.
  test("gives people their whole time, however little the run has left", async () => {
    const { ending } = given.begin({ running_for_ms: 30 * 60_000 - 5_000 });
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
  });

  /** A run that has asked, as its journal tells. */
  const asked = (waitId = "a:1") => ({
    seq: 3,
    kind: "park" as const,
    output: JSON.stringify({ step: "a", visit: 1, reason: "answer", wait_id: waitId }),
  });
  const beginAgain = (...more: ClaimedRun["journal"]) =>
    given.begin({ attempt: 1, event_seq: 5, journal: [asked(), ...more] });
  const rewind = { seq: 5, kind: "rewind" as const, output: '{"keep_seq":4}' };

  // Red when: a run that is woken by something else gives people their whole time again, or asks a second time.
  test("that is asked on keeps its deadline", async () => {
    given.readWaits = async () => [wait];
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
    expect(entriesOf(run)).toMatchObject([{ wake_ms: 20_000, waits: [], kind: "park" }]);
    expect(given.eventsOf(run)).not.toContain("human_input_required");
  });

  // Red when: the park is decided by the signals of the moment in which it is written: the beat has heard of the
  // answer by then, the look before it has not, and the run would sleep with its answer.
  test("whose answer comes between the look and the park is looked at again", async () => {
    let looks = 0;
    given.readWaits = async (id) => {
      looks += 1;
      if (looks > 1) return [answered];
      given.truth.row(id).signals = 1;
      runLog.signals = 1;
      return [wait];
    };
    const { run, runLog, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(looks).toBe(2);
    expect(entriesOf(run).map(({ kind }) => kind)).toEqual(["step", "end"]);
    expect(entriesOf(run)[0]?.output).toContain('"said":"yes"');
  });

  // Red when: the park of a cancelled run is tried again, or given up without its end.
  test("of a run that is cancelled at that moment ends with it", async () => {
    given.readWaits = async (id) => {
      Object.assign(given.truth.row(id), { signals: 1, cancel_requested_at: 1 });
      return [wait];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("cancelled");
  });

  // Red when: the answer is asked for within the step's own time: a Postgres that is away for long would cost it.
  test("is answered, though the store is away for longer than the step may take", async () => {
    given.definition = steps({ id: "a", ...human, timeout_seconds: 1, output_key: "said" });
    const backMs = performance.now() + 1_600;
    given.readWaits = async () => {
      if (performance.now() < backMs) throw new SqlError("57P01");
      return [answered];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("completed");
  });

  // Red when: an answer that was taken is lost by a retry: the person would be asked the same again.
  test("that was answered in an earlier life of the run stays answered", async () => {
    given.readWaits = async (_id, names) => (names.includes("a:1") ? [answered] : []);
    const { run, ending } = beginAgain(rewind);
    expect(await ending).toEqual({ is: "ended" });
    expect(entriesOf(run)[0]?.output).toContain('"said":"yes"');
  });

  // Red when: what closed the question of an earlier life fails this one, or a retry from before it keeps its answer.
  test.each([
    ["was not answered", rewind, { ...wait, state: "expired" as const }],
    ["is done again", { ...rewind, output: '{"keep_seq":2}' }, answered],
  ])("of an earlier life of the run that %s is asked anew", async (_what, cut, found) => {
    given.readWaits = async (_id, names) => (names.includes("a:1") ? [found] : []);
    const { run, ending } = beginAgain(cut);
    expect(await ending).toMatchObject({ is: "parked" });
    expect(entriesOf(run)).toMatchObject([{ waits: [{ wait_id: "a:1:r1" }] }]);
    expect(given.eventsOf(run)).toContain('"question_id":"a:1:r1"');
  });
});
