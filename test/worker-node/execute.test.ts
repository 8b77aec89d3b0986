import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TenantId, newIncarnation } from "../../shared/contracts/ids.ts";
import { Checkpoint, EndRecord, ParkRecord } from "../../shared/contracts/journal.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { ClaimedRun } from "../../shared/store/claim.ts";
import { Definitions } from "../../worker-node/definitions.ts";
import { RetryableError } from "../../worker-node/engine/errors.ts";
import type { ModelAnswer, ModelRequest } from "../../worker-node/engine/ports.ts";
import { execute } from "../../worker-node/execute.ts";
import type { World } from "../../worker-node/execute.ts";
import { Journal } from "../../worker-node/journal.ts";
import { Stop } from "../../worker-node/stop.ts";
import type { ObjectStore } from "../../worker-node/values.ts";
import { SqlError, Truth } from "./truth.ts";

const owner = newIncarnation("w");
const usage = { provider: "demo", model: "demo", input_tokens: 1, output_tokens: 1, cost_micro_usd: 1 };

let truth: Truth;
let stop: AbortController;
let definition: JsonObject;
/** How the definition is read, and how the model answers: a test puts its own in. */
let readDefinition: () => Promise<void>;
let generate: (request: ModelRequest) => Promise<string>;
let calls: ModelRequest[];
let artifacts: ObjectStore | null;
let readWaits: World["readWaits"];

const print = { type: "print", print_content: "text" };
const llm = { type: "llm", model: "demo/fast", prompt_template: "Write" };

beforeEach(() => {
  truth = new Truth();
  stop = new AbortController();
  calls = [];
  artifacts = null;
  readWaits = async () => [];
  readDefinition = async () => {};
  generate = async () => "answer";
  definition = steps({ id: "a", ...llm, output_key: "text", next_step_id: "b" }, { id: "b", ...print });
});

// Red when: something is written that the next worker, or the edge, cannot read.
afterEach(() => {
  for (const { kind, output } of truth.entries) {
    if (output === null) continue;
    const json: unknown = JSON.parse(output);
    if (kind === "step") Checkpoint.parse(json);
    if (kind === "end") EndRecord.parse(json);
    if (kind === "park") ParkRecord.parse(json);
  }
});

function steps(...list: JsonObject[]): JsonObject {
  return { id: "orch", name: "Orch", entry_step_id: "a", steps: list };
}

function begin(changes: Partial<ClaimedRun> = {}) {
  const opened = truth.open(owner);
  const run: ClaimedRun = {
    ...opened,
    tenant_id: TenantId.parse("acme"),
    orchestration_id: "orch",
    definition_tenant: "acme",
    definition_version: 1,
    crash_count: 0,
    cancel: false,
    lane: "default",
    priority: 0,
    input: JSON.stringify({ message: "hello", state: {} }),
    queued_at_ms: 0,
    running_for_ms: 0,
    cost_micro_usd: 0,
    journal: [],
    ...changes,
  };
  const store = {
    ...truth.store,
    orchestration: async () => {
      await readDefinition();
      return JSON.stringify(definition);
    },
  };
  const refuse = async (): Promise<never> => Promise.reject(new Error("not in this test"));
  const journal = new Journal(owner, store, () => {});
  const world: World = {
    owner,
    journal,
    definitions: new Definitions(store),
    models: {
      async generate(request): Promise<ModelAnswer> {
        calls.push(request);
        return { text: await generate(request), tool_calls: [], usage };
      },
    },
    tools: { call: refuse },
    sandbox: { evaluate: refuse, transform: refuse },
    artifacts,
    readWaits: (id, names) => readWaits(id, names),
    confirm: async () => {},
  };
  if (run.event_seq > 0) truth.row(run.run_id).event_seq = run.event_seq;
  const runLog = journal.open(run);
  return { run, runLog, ending: execute(run, world, stop, runLog) };
}

const kindsOf = (run: ClaimedRun): string[] => truth.of(run.run_id).map(({ kind }) => kind);
const eventsOf = (run: ClaimedRun): string =>
  truth
    .of(run.run_id)
    .map(({ events }) => events)
    .join("\n");
const errorOf = (run: ClaimedRun): string | undefined => truth.of(run.run_id).at(-1)?.error ?? undefined;

describe("an execution", () => {
  test("carries a run to its end, and its last result rides in the entry that ends it", async () => {
    const { run, ending } = begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(kindsOf(run).filter((kind) => kind !== "note")).toEqual(["step", "end"]);
    expect(truth.row(run.run_id)).toMatchObject({ status: "completed", owner: null });
  });

  // Red when: a Postgres that is away for a moment is taken for a fault of the run.
  test("waits for a Postgres that does not answer when it asks for the definition", async () => {
    let asked = 0;
    readDefinition = async () => {
      asked += 1;
      if (asked < 3) throw new SqlError("57P01");
    };
    const { run, ending } = begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(truth.row(run.run_id).status).toBe("completed");
  });

  // Red when: what the claim allows for showing nothing still counts when the first step runs.
  test("that goes on in the middle of a run tells how long its step may take, however late it has the definition", async () => {
    definition = steps({ id: "a", ...llm, timeout_seconds: 600 });
    readDefinition = () => sleep(60);
    const step = Promise.withResolvers<string>();
    generate = () => step.promise;
    const { run, ending } = begin({ attempt: 1, event_seq: 5 });
    await expect.poll(() => truth.of(run.run_id).length).toBe(1);
    const shown = truth.of(run.run_id);
    expect(shown).toHaveLength(1);
    expect(shown[0]?.events).toContain("worker_picked_up");
    expect(shown[0]?.deadline_ms).toBe(630_000);
    step.resolve("answer");
    await ending;
  });

  test("of a run that has killed three workers ends it without touching it", async () => {
    const { run, ending } = begin({ crash_count: 3 });
    await ending;
    expect(calls).toEqual([]);
    expect(errorOf(run)).toContain("poison");
    expect(eventsOf(run)).toContain("worker_picked_up");
  });

  test("that is drained writes nothing more, and leaves the run as it is", async () => {
    generate = ({ signal }) => sleep(10_000, "never", { signal });
    const { run, ending } = begin();
    await sleep(30);
    stop.abort(new Stop("drain", "shutting down"));
    expect(await ending).toEqual({ is: "stopped" });
    expect(truth.row(run.run_id).status).toBe("running");
  });

  test("of a cancelled run ends it as cancelled, though the step ignores its signal", async () => {
    generate = () => sleep(2_000, "late");
    const { run, ending } = begin();
    await sleep(30);
    stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "ended" });
    expect(truth.row(run.run_id).status).toBe("cancelled");
  });

  test("whose run is another's stops in silence", async () => {
    const { run, ending } = begin();
    truth.row(run.run_id).attempt += 1;
    expect(await ending).toEqual({ is: "dropped" });
    expect(truth.of(run.run_id)).toEqual([]);
  });

  // Red when: only the way through the steps knows that a run may be another's, not the way out.
  test("whose run becomes another's while it is being cancelled is dropped like any other", async () => {
    generate = ({ signal }) => sleep(10_000, "never", { signal });
    const { run, ending } = begin();
    await sleep(30);
    truth.row(run.run_id).attempt += 1;
    stop.abort(new Stop("cancel", "cancelled"));
    expect(await ending).toEqual({ is: "dropped" });
  });
});

describe("a run's timeout", () => {
  test("that has passed before the run goes on ends it before its step begins", async () => {
    definition = { ...definition, timeout_minutes: 1 };
    const { run, ending } = begin({ running_for_ms: 60_001 });
    await ending;
    expect(errorOf(run)).toContain("run_timeout");
    expect(calls).toEqual([]);
  });

  // Red when: the wait between two tries throws the timer's own error.
  test("that comes while a step waits for its retry is told as what it is", async () => {
    definition = { ...steps({ id: "a", ...llm }), timeout_minutes: 1 };
    generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 4_000 }));
    const { run, ending } = begin({ running_for_ms: 60_000 - 200 });
    await ending;
    expect(errorOf(run)).toContain("run_timeout");
  });

  // Red when: a retry wakes at its own time alone.
  test("wakes a run that waits for a retry beyond it", async () => {
    definition = { ...steps({ id: "a", ...llm }), timeout_minutes: 1 };
    generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 600_000 }));
    const { run, ending } = begin({ running_for_ms: 30_000 });
    const parked = await ending;
    expect(truth.of(run.run_id).at(-1)?.wake_ms).toBeLessThanOrEqual(31_000);
    expect(parked).toMatchObject({ is: "parked", status: "queued" });
    expect(parked.is === "parked" && parked.delayMs).toBeLessThanOrEqual(31_000);
  });
});

describe("a step that waits for a retry", () => {
  const park = { kind: "park", status: "queued" };

  beforeEach(() => {
    definition = steps({ id: "a", ...llm });
    generate = () => Promise.reject(new RetryableError("busy", "busy", { retryAfterMs: 60_000 }));
  });

  test("gives the slot back and says when it is due", async () => {
    const { run, ending } = begin();
    expect(await ending).toEqual({ is: "parked", status: "queued", delayMs: 60_000 });
    expect(truth.of(run.run_id).at(-1)).toMatchObject({ ...park, wake_ms: 60_000 });
  });

  // Red when: a refused park tries the step again at once, against what the other side asked for.
  test("and has missed a signal parks again, and does not call again before its time", async () => {
    const { run, ending } = begin();
    truth.row(run.run_id).signals = 4;
    expect(await ending).toMatchObject({ is: "parked" });
    expect(calls).toHaveLength(1);
    expect(truth.of(run.run_id).at(-1)).toMatchObject({ ...park, signals: 4 });
  });

  // Red when: a refused park does not look at what it was refused for.
  test("and has missed a cancel ends as cancelled, without another call", async () => {
    const { run, ending } = begin();
    Object.assign(truth.row(run.run_id), { signals: 1, cancel: true });
    expect(await ending).toEqual({ is: "ended" });
    expect(truth.row(run.run_id).status).toBe("cancelled");
    expect(calls).toHaveLength(1);
  });
});

describe("a step that is left behind", () => {
  // Red when: the notes of a try that has timed out are still taken.
  test("by its timeout is not heard any more", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    definition = steps({ id: "a", ...llm, timeout_seconds: 1, next_step_id: "b" }, { id: "b", ...print });
    let late = false;
    generate = async ({ onText }) => {
      await sleep(1_100);
      onText("too late. ");
      late = true;
      return "late";
    };
    const { run, ending } = begin();
    expect(await ending).toEqual({ is: "ended" });
    await expect.poll(() => late).toBe(true);
    await sleep(80);
    expect(errorOf(run)).toContain("step_timeout");
    expect(eventsOf(run)).not.toContain("too late");
  });
});

// Red when: what the run comes to by a result is kept before the result is.
test.each([
  ["fails the step", [{ id: "b", ...print }]],
  ["that was the last one fails the run", []],
])(
  "a result that Postgres will not take %s, and leaves nothing of it in the final state",
  async (_, after) => {
    definition = steps({ id: "a", ...llm, output_key: "text", next_step_id: after[0]?.id ?? null }, ...after);
    const flush = truth.store.flush;
    truth.store.flush = async (entries) => {
      if (entries.some(({ output }) => output?.includes("unstorable"))) throw new SqlError("22021");
      return flush(entries);
    };
    generate = async () => "unstorable";
    const { run, ending } = begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(errorOf(run)).toContain("result_rejected");
    expect(truth.of(run.run_id).at(-1)?.events).not.toContain("unstorable");
  },
);

// Red when: usage is committed only with a result or a turn.
test("what a model answered in a try that failed is charged with the entry that ends the run", async () => {
  definition = steps({ id: "a", ...llm, output_key: "text", retry: { attempts: 1 } });
  generate = async () => "too large to stay here ".repeat(5_000);
  artifacts = { put: () => Promise.reject(new Error("the object store is away")), get: async () => "" };
  const { run, ending } = begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(truth.row(run.run_id).status).toBe("failed");
  expect(truth.of(run.run_id).flatMap((entry) => entry.usage)).toEqual([{ call: "try.1.1", ...usage }]);
});

// Red when: a run whose end Postgres does not take is executed again and again, as nothing ends it.
test("an end in failure that is not taken either becomes one that tells nothing of the run but that", async () => {
  definition = steps({ id: "a", ...print });
  const { flush } = truth.store;
  truth.store.flush = async (entries) => {
    // What the run began with: it stands in every end that tells its state.
    if (entries.some(({ events }) => events.includes("hello"))) throw new SqlError("54000");
    return flush(entries);
  };
  const { run, ending } = begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(truth.row(run.run_id).status).toBe("failed");
  expect(errorOf(run)).toContain("result_rejected");
  expect(truth.of(run.run_id).at(-1)?.events).toContain('"final_state":{}');
});

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
    definition = steps({ id: "a", ...human, output_key: "said", next_step_id: "b" }, { id: "b", ...print });
  });
  const entriesOf = (run: ClaimedRun) => truth.of(run.run_id).filter(({ kind }) => kind !== "note");

  test("is stored with the park, and the run sleeps until its deadline", async () => {
    const { run, ending } = begin();
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
    const { ending } = begin({ running_for_ms: 30 * 60_000 - 5_000 });
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 60_000 });
  });

  /** A run that has asked, as its journal tells. */
  const asked = (waitId = "a:1") => ({
    seq: 3,
    kind: "park" as const,
    output: JSON.stringify({ step: "a", visit: 1, reason: "answer", wait_id: waitId }),
  });
  const beginAgain = (...more: ClaimedRun["journal"]) =>
    begin({ attempt: 1, event_seq: 5, journal: [asked(), ...more] });
  const rewind = { seq: 5, kind: "rewind" as const, output: '{"keep_seq":4}' };

  // Red when: a run that is woken by something else gives people their whole time again, or asks a second time.
  test("that is asked on keeps its deadline", async () => {
    readWaits = async () => [wait];
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 20_000 });
    expect(entriesOf(run)).toMatchObject([{ wake_ms: 20_000, waits: [], kind: "park" }]);
    expect(eventsOf(run)).not.toContain("human_input_required");
  });

  // Red when: the park is decided by the signals of the moment in which it is written: the beat has heard of the
  // answer by then, the look before it has not, and the run would sleep with its answer.
  test("whose answer comes between the look and the park is looked at again", async () => {
    let looks = 0;
    readWaits = async (id) => {
      looks += 1;
      if (looks > 1) return [answered];
      truth.row(id).signals = 1;
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
    readWaits = async (id) => {
      Object.assign(truth.row(id), { signals: 1, cancel: true });
      return [wait];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(truth.row(run.run_id).status).toBe("cancelled");
  });

  // Red when: the answer is asked for within the step's own time: a Postgres that is away for long would cost it.
  test("is answered, though the store is away for longer than the step may take", async () => {
    definition = steps({ id: "a", ...human, timeout_seconds: 1, output_key: "said" });
    const backMs = performance.now() + 1_600;
    readWaits = async () => {
      if (performance.now() < backMs) throw new SqlError("57P01");
      return [answered];
    };
    const { run, ending } = beginAgain();
    expect(await ending).toEqual({ is: "ended" });
    expect(truth.row(run.run_id).status).toBe("completed");
  });

  // Red when: an answer that was taken is lost by a retry: the person would be asked the same again.
  test("that was answered in an earlier life of the run stays answered", async () => {
    readWaits = async (_id, names) => (names.includes("a:1") ? [answered] : []);
    const { run, ending } = beginAgain(rewind);
    expect(await ending).toEqual({ is: "ended" });
    expect(entriesOf(run)[0]?.output).toContain('"said":"yes"');
  });

  // Red when: what closed the question of an earlier life fails this one, or a retry from before it keeps its answer.
  test.each([
    ["was not answered", rewind, { ...wait, state: "expired" as const }],
    ["is done again", { ...rewind, output: '{"keep_seq":2}' }, answered],
  ])("of an earlier life of the run that %s is asked anew", async (_what, cut, found) => {
    readWaits = async (_id, names) => (names.includes("a:1") ? [found] : []);
    const { run, ending } = beginAgain(cut);
    expect(await ending).toMatchObject({ is: "parked" });
    expect(entriesOf(run)).toMatchObject([{ waits: [{ wait_id: "a:1:r1" }] }]);
    expect(eventsOf(run)).toContain('"question_id":"a:1:r1"');
  });
});
