import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { ProviderWait } from "../../../worker-node/models/provider-wait.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { ExecutionHarness, llm, print, steps, usage } from "./execution-harness.ts";
import { SqlError } from "../fake-store.ts";
import { silentPeer, slowPeer } from "../../services/waiting.ts";
import { ObjectStoreError } from "../../../worker-node/execution/object-store.ts";
import { LANE_DEFAULTS } from "../../../shared/contracts/lane-settings.ts";
import type { ObjectStore } from "../../../worker-node/execution/object-store.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
});
// Fails when an entry is committed that the next worker, or the edge, cannot read.
afterEach(() => {
  harness.checkEntries();
  vi.restoreAllMocks();
});

const untilCalled = () => expect.poll(() => harness.calls.length).toBe(1);

describe("an execution", () => {
  test("runs all steps, and commits the last result with the entry that ends the run", async () => {
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.kindsOf(run).filter((kind) => kind !== "note")).toEqual(["step", "end"]);
    expect(harness.store.row(run.run_id)).toMatchObject({ status: "completed", owner: null });
  });

  // Fails when the only failure has a time of the worker's clock: it would be before that of the dead letter.
  test.each([1, 2])(
    "that fails after %i tries has the time of the first failure apart from the last",
    async (tries) => {
      harness.definition = steps({ id: "a", ...llm, retry: { attempts: tries, base_seconds: 0 } });
      harness.generate = () => Promise.reject(new RetryableError("unavailable", "try again"));
      const { run, ending } = harness.begin();
      expect(await ending).toEqual({ is: "ended" });
      expect(harness.store.entriesOf(run.run_id).at(-1)?.dead_letter).toMatchObject({
        tries,
        first_failed_at: tries === 1 ? null : expect.stringMatching(/Z$/),
      });
    },
  );

  // Fails when a Postgres that is unreachable for a moment fails the run.
  test("waits for a Postgres that does not answer its read of the definition", async () => {
    let reads = 0;
    harness.readDefinition = async () => {
      reads += 1;
      if (reads < 3) throw new SqlError("57P01");
    };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
  });

  // Fails when the deadline of the claim still holds while the first step runs.
  test("that continues in the middle of a run sets the deadline of its step, however late the definition arrives", async () => {
    harness.definition = steps({ id: "a", ...llm, timeout_seconds: 600 });
    harness.readDefinition = () => slowPeer(60);
    const step = Promise.withResolvers<string>();
    harness.generate = () => step.promise;
    const { run, ending } = harness.begin({ attempt: 1, event_seq: 5 });
    await expect.poll(() => harness.store.entriesOf(run.run_id).length).toBe(1);
    const entries = harness.store.entriesOf(run.run_id);
    expect(entries).toHaveLength(1);
    expect(entries[0]?.events).toContain("worker_picked_up");
    expect(entries[0]?.deadline_ms).toBe(630_000);
    step.resolve("answer");
    await ending;
  });

  test("of a run that crashed three workers fails it without calling anything", async () => {
    const { run, ending } = harness.begin({ crash_count: 3 });
    await ending;
    expect(harness.calls).toEqual([]);
    expect(harness.errorOf(run)).toContain("poison");
    expect(harness.eventsOf(run)).toContain("worker_picked_up");
  });

  test("that is drained commits nothing more, and leaves the run as it is", async () => {
    harness.generate = ({ signal }) => silentPeer(signal);
    const { run, ending } = harness.begin();
    await untilCalled();
    harness.stop.abort(new Stop("drain", "shutting down"));
    expect(await ending).toEqual({ is: "stopped" });
    expect(harness.store.row(run.run_id).status).toBe("running");
  });

  test("of a cancelled run ends it as cancelled, even if the step ignores its signal", async () => {
    harness.generate = () => silentPeer(new AbortController().signal);
    const { run, ending } = harness.begin();
    await untilCalled();
    harness.stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
  });

  test("of a run that another worker took over stops and commits nothing", async () => {
    const { run, ending } = harness.begin();
    harness.store.row(run.run_id).attempt += 1;
    expect(await ending).toEqual({ is: "dropped" });
    expect(harness.store.entriesOf(run.run_id)).toEqual([]);
  });

  // Fails when a fenced end counts as an error, although a fenced step does not.
  test("of a run that another worker takes over during its cancel is dropped too", async () => {
    harness.generate = ({ signal }) => silentPeer(signal);
    const { run, ending } = harness.begin();
    await untilCalled();
    harness.store.row(run.run_id).attempt += 1;
    harness.stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "dropped" });
  });
});

describe("the settings of a run's lane", () => {
  test("decide after how many crashes it fails", async () => {
    harness.laneSettings = (lane) => ({ ...LANE_DEFAULTS[lane], attempts: lane === "bulk" ? 5 : 1 });
    const [goesOn, failed] = [
      harness.begin({ crash_count: 4, lane: "bulk" }),
      harness.begin({ crash_count: 1 }),
    ];
    expect(await goesOn.ending).toEqual({ is: "ended" });
    await failed.ending;
    expect(harness.errorOf(failed.run)).toContain("poison");
  });

  test("decide how long it may take, if its orchestration does not allow less", async () => {
    harness.laneSettings = (lane) => ({ ...LANE_DEFAULTS[lane], timeout_seconds: 30 });
    const { run, ending } = harness.begin({ running_for_ms: 30_001 });
    await ending;
    expect(harness.errorOf(run)).toContain("took longer than its 0.5 minutes");
  });
});

describe("a run's timeout", () => {
  test("that has passed already ends the run before its step begins", async () => {
    harness.definition = { ...harness.definition, timeout_minutes: 1 };
    const { run, ending } = harness.begin({ running_for_ms: 60_001 });
    await ending;
    expect(harness.errorOf(run)).toContain("run_timeout");
    expect(harness.calls).toEqual([]);
  });

  // Fails when the wait between two tries throws the timer's own error.
  test("that comes while a step waits for its retry fails the run with run_timeout", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.9);
    const retry = { base_seconds: 4, max_seconds: 4 };
    harness.definition = { ...steps({ id: "a", ...llm, retry }), timeout_minutes: 1 };
    harness.generate = () => Promise.reject(new RetryableError("busy", "busy"));
    const { run, ending } = harness.begin({ running_for_ms: 60_000 - 200 });
    await ending;
    expect(harness.errorOf(run)).toContain("run_timeout");
  });

  // Fails when the wake-up of a retry ignores the timeout of the run.
  test("wakes a run whose retry is due after it", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.9);
    const retry = { base_seconds: 600, max_seconds: 600 };
    harness.definition = { ...steps({ id: "a", ...llm, retry }), timeout_minutes: 1 };
    harness.generate = () => Promise.reject(new RetryableError("busy", "busy"));
    const { run, ending } = harness.begin({ running_for_ms: 30_000 });
    const parked = await ending;
    expect(harness.store.entriesOf(run.run_id).at(-1)?.wake_ms).toBeLessThanOrEqual(31_000);
    expect(parked).toMatchObject({ is: "parked", status: "queued" });
    expect(parked.is === "parked" && parked.delayMs).toBeLessThanOrEqual(31_000);
  });
});

// Fails when a run waits for a time that it does not have, or for a part of the time that the other side demands.
test("a demand to wait for longer than the run has left fails the step at once", async () => {
  harness.definition = { ...steps({ id: "a", ...llm }), timeout_minutes: 1 };
  harness.generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.errorOf(run)).toContain("busy");
  expect(harness.calls).toHaveLength(1);
});

describe("a step that waits for a retry", () => {
  const park = { kind: "park", status: "queued" };

  beforeEach(() => {
    harness.definition = steps({ id: "a", ...llm });
    harness.generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  });

  test("gives the slot back until it is due", async () => {
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "queued", delayMs: 60_000 });
    expect(harness.store.entriesOf(run.run_id).at(-1)).toMatchObject({ ...park, wake_ms: 60_000 });
  });

  // Fails when a refused park tries the step again at once, before the time that the other side demands.
  test("and has missed a signal parks again, and makes no call before its time", async () => {
    const { run, ending } = harness.begin();
    harness.store.row(run.run_id).signals = 4;
    expect(await ending).toMatchObject({ is: "parked" });
    expect(harness.calls).toHaveLength(1);
    expect(harness.store.entriesOf(run.run_id).at(-1)).toMatchObject({ ...park, signals: 4 });
  });

  // Fails when a refused park does not read why it was refused.
  test("and has missed a cancel ends as cancelled, without another call", async () => {
    const { run, ending } = harness.begin();
    Object.assign(harness.store.row(run.run_id), { signals: 1, cancel_requested_at: 1 });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
    expect(harness.calls).toHaveLength(1);
  });
});

// Fails when the time since which a call waits for its provider counts as that of the first failure: the wait is no failed try.
test("the first failure of a step is its first failed try, and no wait for its provider", async () => {
  const definition = steps({ id: "a", ...llm, retry: { attempts: 2, base_seconds: 0 } });
  harness.definition = definition;
  harness.generate = () =>
    Promise.reject(new ProviderWait("limit", { provider: "demo", model: "fast" }, 60_000));
  const { run, ending } = harness.begin();
  expect(await ending).toMatchObject({ is: "parked" });
  const waitedSince = "2026-01-02T03:04:05.678Z";
  const journal = harness.store.entriesOf(run.run_id).map((entry, i) => ({
    ...entry,
    seq: i + 1,
    output: entry.output?.replace(/(?<="first_failed_at":")[^"]+/, waitedSince) ?? null,
  }));
  expect(journal.at(-1)?.output).toContain(waitedSince);

  const next = new ExecutionHarness();
  next.definition = definition;
  next.generate = () => Promise.reject(new RetryableError("busy", "busy"));
  const secondExecution = next.begin({ event_seq: journal.length }, journal);
  expect(await secondExecution.ending).toEqual({ is: "ended" });
  const letter = next.store.entriesOf(secondExecution.run.run_id).at(-1)?.dead_letter;
  expect(letter).toMatchObject({ tries: 2, first_failed_at: expect.stringMatching(/Z$/) });
  expect(letter?.first_failed_at).not.toBe(waitedSince);
});

describe("a step that is left behind", () => {
  // Fails when a try that has timed out can still note events.
  test("by its timeout cannot note events any more", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    harness.definition = steps(
      { id: "a", ...llm, timeout_seconds: 1, next_step_id: "b" },
      { id: "b", ...print },
    );
    // The model goes on after the step has given it up. The entry that ends the run is committed later than this text.
    let late = false;
    harness.generate = ({ signal, onText }) => {
      signal.addEventListener("abort", () => {
        onText("too late. ");
        late = true;
      });
      return silentPeer(new AbortController().signal);
    };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(late).toBe(true);
    expect(harness.errorOf(run)).toContain("step_timeout");
    expect(harness.eventsOf(run)).not.toContain("too late");
  });
});

// Fails when the progress of the run includes a result before it is committed.
test.each([
  ["fails the step", [{ id: "b", ...print }]],
  ["that was the last one fails the run", []],
])("a result that Postgres rejects %s, and is not in the final state", async (_, after) => {
  harness.definition = steps(
    { id: "a", ...llm, output_key: "text", next_step_id: after[0]?.id ?? null },
    ...after,
  );
  const flush = harness.store.store.flush;
  harness.store.store.flush = async (entries) => {
    if (entries.some((entry) => entry.kind !== "note" && entry.output.includes("unstorable")))
      throw new SqlError("22021");
    return flush(entries);
  };
  harness.generate = async () => "unstorable";
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.errorOf(run)).toContain("result_rejected");
  expect(harness.store.entriesOf(run.run_id).at(-1)?.events).not.toContain("unstorable");
});

describe("an object store", () => {
  const large = "too large for Postgres ".repeat(5_000);
  const putOf = (put: ObjectStore["put"]): ObjectStore => ({ put, get: async () => "" });
  const writes = (fields = {}) => steps({ id: "a", ...llm, output_key: "text", ...fields });

  // Fails when an outage is an internal error, or when it keeps the slot.
  test("that is away parks the run with a code of its own, and what was paid is charged", async () => {
    harness.definition = writes();
    harness.generate = async () => large;
    harness.artifacts = putOf(() => Promise.reject(new Error("HTTP 503")));
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "queued", delayMs: 10_000 });
    const [park] = harness.store.entriesOf(run.run_id).slice(-1);
    expect(park).toMatchObject({ kind: "park", usage: [{ call: "try.1.1" }] });
    expect(park?.output).toContain('"code":"artifacts_away"');
    expect(park?.events).toContain("the object store did not take a value over 32 KiB");
  });

  test("that returns no value parks the run that reads it", async () => {
    const reference = {
      $ref: "acme/run_1/a/1.1/big",
      size: 40_000,
      content_type: "application/json",
      preview: "",
    };
    harness.definition = {
      ...steps({ id: "a", ...print, print_content: "{state.big}" }),
      state_schema: { big: { type: "string", default: "" } },
    };
    harness.artifacts = { put: async () => {}, get: () => Promise.reject(new Error("ECONNREFUSED")) };
    const input = JSON.stringify({ message: "hello", state: { big: reference } });
    const { run, ending } = harness.begin({ input });
    expect(await ending).toMatchObject({ is: "parked", status: "queued" });
    expect(harness.store.entriesOf(run.run_id).at(-1)?.output).toContain('"code":"artifacts_away"');
  });

  // Fails when wrong settings of the worker are tried again and again, each time with a paid call.
  test("that refuses the worker fails the step at once, with a sentence about its settings", async () => {
    harness.definition = writes();
    harness.generate = async () => large;
    harness.artifacts = putOf(() =>
      Promise.reject(new ObjectStoreError("refused", "HTTP 403, AccessDenied")),
    );
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain('"code":"artifacts_refused"');
    expect(harness.errorOf(run)).toContain("HTTP 403, AccessDenied");
    expect(harness.calls).toHaveLength(1);
  });

  // Fails when the time of a put counts as the step's: a result that was paid for and in time would be lost.
  test("that is slow does not fail a step whose result was in time", async () => {
    harness.definition = writes({ timeout_seconds: 1 });
    harness.generate = async () => large;
    harness.artifacts = putOf(() => slowPeer(1_500));
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(harness.calls).toHaveLength(1);
  });

  // Fails when the beginning of a run, or its end, waits for the object store.
  test("that never answers does not keep a run from its end", async () => {
    harness.definition = steps({ id: "a", ...print });
    harness.artifacts = putOf(() => new Promise(() => {}));
    const { run, ending } = harness.begin({ input: JSON.stringify({ message: large, state: {} }) });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
  });
});

// Fails when usage is committed only with a result or a turn.
test("the usage of a failed try is charged with the entry that ends the run", async () => {
  harness.definition = steps({ id: "a", ...llm, output_key: "text", retry: { attempts: 1 } });
  harness.generate = async () => "too large for Postgres ".repeat(5_000);
  harness.artifacts = {
    put: () => Promise.reject(new Error("the object store is unreachable")),
    get: async () => "",
  };
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.store.row(run.run_id).status).toBe("failed");
  expect(harness.store.entriesOf(run.run_id).flatMap((entry) => entry.usage)).toEqual([
    { call: "try.1.1", ...usage },
  ]);
});

// Fails when a run whose end Postgres rejects is executed again and again, because nothing ends it.
test("when Postgres rejects the end of a failed run too, the run ends with an entry that holds the error alone", async () => {
  harness.definition = steps({ id: "a", ...print });
  const { flush } = harness.store.store;
  harness.store.store.flush = async (entries) => {
    // The message is in the state, which every other end contains.
    if (entries.some(({ events }) => events.includes("hello"))) throw new SqlError("54000");
    return flush(entries);
  };
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.store.row(run.run_id).status).toBe("failed");
  expect(harness.errorOf(run)).toContain("result_rejected");
  expect(harness.store.entriesOf(run.run_id).at(-1)?.events).toContain('"final_state":{}');
});
