import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RetryableError } from "../../../worker-node/engine/errors.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { Given, llm, print, steps, usage } from "./claimed-run.ts";
import { SqlError } from "../fake-store.ts";

let given: Given;
beforeEach(() => {
  given = new Given();
});
// Red when: something is written that the next worker, or the edge, cannot read.
afterEach(() => given.checkWritten());

describe("an execution", () => {
  test("carries a run to its end, and its last result rides in the entry that ends it", async () => {
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.kindsOf(run).filter((kind) => kind !== "note")).toEqual(["step", "end"]);
    expect(given.truth.row(run.run_id)).toMatchObject({ status: "completed", owner: null });
  });

  // Red when: a Postgres that is away for a moment is taken for a fault of the run.
  test("waits for a Postgres that does not answer when it asks for the definition", async () => {
    let asked = 0;
    given.readDefinition = async () => {
      asked += 1;
      if (asked < 3) throw new SqlError("57P01");
    };
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("completed");
  });

  // Red when: what the claim allows for showing nothing still counts when the first step runs.
  test("that goes on in the middle of a run tells how long its step may take, however late it has the definition", async () => {
    given.definition = steps({ id: "a", ...llm, timeout_seconds: 600 });
    given.readDefinition = () => sleep(60);
    const step = Promise.withResolvers<string>();
    given.generate = () => step.promise;
    const { run, ending } = given.begin({ attempt: 1, event_seq: 5 });
    await expect.poll(() => given.truth.entriesOf(run.run_id).length).toBe(1);
    const shown = given.truth.entriesOf(run.run_id);
    expect(shown).toHaveLength(1);
    expect(shown[0]?.events).toContain("worker_picked_up");
    expect(shown[0]?.deadline_ms).toBe(630_000);
    step.resolve("answer");
    await ending;
  });

  test("of a run that has killed three workers ends it without touching it", async () => {
    const { run, ending } = given.begin({ crash_count: 3 });
    await ending;
    expect(given.calls).toEqual([]);
    expect(given.errorOf(run)).toContain("poison");
    expect(given.eventsOf(run)).toContain("worker_picked_up");
  });

  test("that is drained writes nothing more, and leaves the run as it is", async () => {
    given.generate = ({ signal }) => sleep(10_000, "never", { signal });
    const { run, ending } = given.begin();
    await sleep(30);
    given.stop.abort(new Stop("drain", "shutting down"));
    expect(await ending).toEqual({ is: "stopped" });
    expect(given.truth.row(run.run_id).status).toBe("running");
  });

  test("of a cancelled run ends it as cancelled, though the step ignores its signal", async () => {
    given.generate = () => sleep(2_000, "late");
    const { run, ending } = given.begin();
    await sleep(30);
    given.stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("cancelled");
  });

  test("whose run is another's stops in silence", async () => {
    const { run, ending } = given.begin();
    given.truth.row(run.run_id).attempt += 1;
    expect(await ending).toEqual({ is: "dropped" });
    expect(given.truth.entriesOf(run.run_id)).toEqual([]);
  });

  // Red when: only the way through the steps knows that a run may be another's, not the way out.
  test("whose run becomes another's while it is being cancelled is dropped like any other", async () => {
    given.generate = ({ signal }) => sleep(10_000, "never", { signal });
    const { run, ending } = given.begin();
    await sleep(30);
    given.truth.row(run.run_id).attempt += 1;
    given.stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "dropped" });
  });
});

describe("a run's timeout", () => {
  test("that has passed before the run goes on ends it before its step begins", async () => {
    given.definition = { ...given.definition, timeout_minutes: 1 };
    const { run, ending } = given.begin({ running_for_ms: 60_001 });
    await ending;
    expect(given.errorOf(run)).toContain("run_timeout");
    expect(given.calls).toEqual([]);
  });

  // Red when: the wait between two tries throws the timer's own error.
  test("that comes while a step waits for its retry is told as what it is", async () => {
    given.definition = { ...steps({ id: "a", ...llm }), timeout_minutes: 1 };
    given.generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 4_000 }));
    const { run, ending } = given.begin({ running_for_ms: 60_000 - 200 });
    await ending;
    expect(given.errorOf(run)).toContain("run_timeout");
  });

  // Red when: a retry wakes at its own time alone.
  test("wakes a run that waits for a retry beyond it", async () => {
    given.definition = { ...steps({ id: "a", ...llm }), timeout_minutes: 1 };
    given.generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 600_000 }));
    const { run, ending } = given.begin({ running_for_ms: 30_000 });
    const parked = await ending;
    expect(given.truth.entriesOf(run.run_id).at(-1)?.wake_ms).toBeLessThanOrEqual(31_000);
    expect(parked).toMatchObject({ is: "parked", status: "queued" });
    expect(parked.is === "parked" && parked.delayMs).toBeLessThanOrEqual(31_000);
  });
});

describe("a step that waits for a retry", () => {
  const park = { kind: "park", status: "queued" };

  beforeEach(() => {
    given.definition = steps({ id: "a", ...llm });
    given.generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  });

  test("gives the slot back and says when it is due", async () => {
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "parked", status: "queued", delayMs: 60_000 });
    expect(given.truth.entriesOf(run.run_id).at(-1)).toMatchObject({ ...park, wake_ms: 60_000 });
  });

  // Red when: a refused park tries the step again at once, against what the other side asked for.
  test("and has missed a signal parks again, and does not call again before its time", async () => {
    const { run, ending } = given.begin();
    given.truth.row(run.run_id).signals = 4;
    expect(await ending).toMatchObject({ is: "parked" });
    expect(given.calls).toHaveLength(1);
    expect(given.truth.entriesOf(run.run_id).at(-1)).toMatchObject({ ...park, signals: 4 });
  });

  // Red when: a refused park does not look at what it was refused for.
  test("and has missed a cancel ends as cancelled, without another call", async () => {
    const { run, ending } = given.begin();
    Object.assign(given.truth.row(run.run_id), { signals: 1, cancel_requested_at: 1 });
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("cancelled");
    expect(given.calls).toHaveLength(1);
  });
});

describe("a step that is left behind", () => {
  // Red when: the notes of a try that has timed out are still taken.
  test("by its timeout is not heard any more", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    given.definition = steps(
      { id: "a", ...llm, timeout_seconds: 1, next_step_id: "b" },
      { id: "b", ...print },
    );
    let late = false;
    given.generate = async ({ onText }) => {
      await sleep(1_100);
      onText("too late. ");
      late = true;
      return "late";
    };
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "ended" });
    await expect.poll(() => late).toBe(true);
    await sleep(80);
    expect(given.errorOf(run)).toContain("step_timeout");
    expect(given.eventsOf(run)).not.toContain("too late");
  });
});

// Red when: what the run comes to by a result is kept before the result is.
test.each([
  ["fails the step", [{ id: "b", ...print }]],
  ["that was the last one fails the run", []],
])(
  "a result that Postgres will not take %s, and leaves nothing of it in the final state",
  async (_, after) => {
    given.definition = steps(
      { id: "a", ...llm, output_key: "text", next_step_id: after[0]?.id ?? null },
      ...after,
    );
    const flush = given.truth.store.flush;
    given.truth.store.flush = async (entries) => {
      if (entries.some(({ output }) => output?.includes("unstorable"))) throw new SqlError("22021");
      return flush(entries);
    };
    given.generate = async () => "unstorable";
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.errorOf(run)).toContain("result_rejected");
    expect(given.truth.entriesOf(run.run_id).at(-1)?.events).not.toContain("unstorable");
  },
);

describe("an object store that never answers", () => {
  const large = "too large to stay here ".repeat(5_000);

  // Red when: what is kept there is waited for beyond the step's time: neither that, nor a cancel, would end the run.
  test("ends a step with its time", async () => {
    given.definition = steps({ id: "a", ...llm, output_key: "text", timeout_seconds: 1 });
    given.generate = async () => large;
    given.artifacts = { put: () => new Promise(() => {}), get: async () => "" };
    const { run, ending } = given.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(given.errorOf(run)).toContain("step_timeout");
  });

  // Red when: the beginning of a run, or its end, waits for it.
  test("keeps no run from its end", async () => {
    given.definition = steps({ id: "a", ...print });
    given.artifacts = { put: () => new Promise(() => {}), get: async () => "" };
    const { run, ending } = given.begin({ input: JSON.stringify({ message: large, state: {} }) });
    expect(await ending).toEqual({ is: "ended" });
    expect(given.truth.row(run.run_id).status).toBe("completed");
  }, 30_000);
});

// Red when: usage is committed only with a result or a turn.
test("what a model answered in a try that failed is charged with the entry that ends the run", async () => {
  given.definition = steps({ id: "a", ...llm, output_key: "text", retry: { attempts: 1 } });
  given.generate = async () => "too large to stay here ".repeat(5_000);
  given.artifacts = { put: () => Promise.reject(new Error("the object store is away")), get: async () => "" };
  const { run, ending } = given.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(given.truth.row(run.run_id).status).toBe("failed");
  expect(given.truth.entriesOf(run.run_id).flatMap((entry) => entry.usage)).toEqual([
    { call: "try.1.1", ...usage },
  ]);
});

// Red when: a run whose end Postgres does not take is executed again and again, as nothing ends it.
test("an end in failure that is not taken either becomes one that tells nothing of the run but that", async () => {
  given.definition = steps({ id: "a", ...print });
  const { flush } = given.truth.store;
  given.truth.store.flush = async (entries) => {
    // What the run began with: it stands in every end that tells its state.
    if (entries.some(({ events }) => events.includes("hello"))) throw new SqlError("54000");
    return flush(entries);
  };
  const { run, ending } = given.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(given.truth.row(run.run_id).status).toBe("failed");
  expect(given.errorOf(run)).toContain("result_rejected");
  expect(given.truth.entriesOf(run.run_id).at(-1)?.events).toContain('"final_state":{}');
});
