/** Tracks: branches and iterations with their own state and checkpoints, in one run with one journal. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { recordOf } from "../../../shared/journal/records.ts";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import type { ModelRequest } from "../../../worker-node/engine/ports.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { POISON, SqlError } from "../fake-store.ts";
import { cpuMs } from "../../services/cpu-time.ts";
import { until } from "../../services/waiting.ts";
import { ExecutionHarness, steps, usage } from "./execution-harness.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  harness.generate = async ({ messages }) => `[${String(messages.at(-1)?.content).split("\n").at(-1)}]`;
});
// Fails when an entry is committed that the next worker, or the edge, cannot read.
afterEach(() => harness.checkEntries());

const llm = (id: string, fields: JsonObject = {}): JsonObject => ({
  id,
  type: "llm",
  model: "demo/fast",
  prompt_template: id,
  output_key: id,
  ...fields,
});
const human = (id: string, fields: JsonObject = {}): JsonObject => ({
  id,
  type: "human",
  human_prompt: `${id}?`,
  output_key: id,
  ...fields,
});
const print = (id: string, fields: JsonObject = {}): JsonObject => ({
  id,
  type: "print",
  print_content: `printed by ${id}`,
  output_key: id,
  ...fields,
});
const fanout = (branches: string[][], fields: JsonObject = {}): JsonObject => ({
  id: "a",
  type: "parallel",
  parallel_branches: branches,
  ...fields,
});

const fanoutOf = (id: string, ...branches: string[][]): JsonObject => ({ ...fanout(branches), id });

const callOf = ({ effectKey }: ModelRequest): string => effectKey.split(":").slice(1).join(":");
const stateOf = (run: ClaimedRun): JsonObject => {
  const final = linesOf(run).findLast(({ type }) => type === "orchestration_complete");
  const { user_input: _, user_query: __, ...state } = Object(final?.["final_state"]);
  return state;
};
const linesOf = (run: ClaimedRun): JsonObject[] =>
  harness
    .eventsOf(run)
    .split("\n")
    .map((line) => JSON.parse(line));
/** The results that are committed, as `path:visit`, the last of the run included. */
const resultsOf = (run: ClaimedRun): string[] =>
  harness.store
    .entriesOf(run.run_id)
    .flatMap(({ kind, step_path, visit }) =>
      kind === "step" || (kind === "end" && step_path !== null) ? [`${step_path}:${visit}`] : [],
    );
const storedOf = (executor: ExecutionHarness, run: ClaimedRun): StoredEntry[] =>
  executor.store.model.tables.entriesOf(run.run_id).map(({ seq, kind, output, events }) => ({
    seq,
    kind,
    output,
    events,
  }));

describe("parallel branches", () => {
  test("run at the same time, and what they write is in state afterwards", async () => {
    harness.definition = steps(
      fanout([["x"], ["y", "z"]], { output_key: "all", next_step_id: "m" }),
      llm("x"),
      llm("y"),
      llm("z"),
      { id: "m", type: "merge", input_keys: ["x", "z"], merge_strategy: "dict", output_key: "merged" },
    );
    const bothHaveCalled = Promise.withResolvers<void>();
    harness.generate = async (request) => {
      if (harness.calls.length === 2) bothHaveCalled.resolve();
      await bothHaveCalled.promise;
      return callOf(request);
    };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(stateOf(run)).toEqual({
      x: "a[0].x:1:model.1",
      y: "a[1].y:1:model.1",
      z: "a[1].z:1:model.1",
      all: [
        { status: "completed", output: "a[0].x:1:model.1" },
        { status: "completed", output: "a[1].z:1:model.1" },
      ],
      merged: { x: "a[0].x:1:model.1", z: "a[1].z:1:model.1" },
    });
    expect(resultsOf(run).toSorted()).toEqual(["a:1", "a[0].x:1", "a[1].y:1", "a[1].z:1", "m:1"]);
    const starts = linesOf(run).filter(({ type }) => type === "step_start");
    expect(starts.map(({ orch_step_id, path }) => [orch_step_id, path])).toEqual([
      ["a", undefined],
      ["x", "a[0].x"],
      ["y", "a[1].y"],
      ["z", "a[1].z"],
      ["m", undefined],
    ]);
  });

  test("do not see each other's state, and no more of them move than `concurrency` says", async () => {
    harness.definition = steps(
      fanout([["x"], ["y"], ["z"]], { concurrency: 2 }),
      ...["x", "y", "z"].map((id) => ({
        id,
        type: "transform",
        transform_code: "result = 1",
        output_key: id,
      })),
    );
    let moving = 0;
    let most = 0;
    const seen: Json[] = [];
    harness.transform = async (_code, state) => {
      most = Math.max(most, ++moving);
      await new Promise(setImmediate);
      moving -= 1;
      seen.push(Object.keys(state).filter((key) => key.length === 1));
      return 1;
    };
    const { run, ending } = harness.begin();
    await ending;
    expect(most).toBe(2);
    expect(seen).toEqual([[], [], []]);
    expect(stateOf(run)).toEqual({ x: 1, y: 1, z: 1 });
  });
});

describe("a branch that fails", () => {
  beforeEach(() => {
    harness.generate = async ({ effectKey, signal }) => {
      if (effectKey.includes(".x:")) throw new TerminalError("broken", "x is broken");
      if (!effectKey.includes(".y:")) return "text";
      await until("y is stopped", () => signal.aborted);
      signal.throwIfAborted();
      return "y";
    };
  });

  test("stops the calls of the others and fails the run, by default", async () => {
    harness.definition = steps(fanout([["x"], ["y"]], { next_step_id: "b" }), llm("x"), llm("y"), print("b"));
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(JSON.parse(harness.errorOf(run) ?? "{}")).toEqual({
      code: "broken",
      message: "x is broken",
      step_id: "x",
    });
    expect(linesOf(run).find(({ type }) => type === "step_error")).toMatchObject({
      orch_step_id: "x",
      path: "a[0].x",
    });
    expect(resultsOf(run)).toEqual([]);
  });

  test("lets the others go on with `collect`, and its error is in the result", async () => {
    harness.definition = steps(
      fanout([["x"], ["z"]], { on_branch_error: "collect", output_key: "all", next_step_id: "b" }),
      llm("x"),
      llm("z"),
      print("b"),
    );
    const { run, ending } = harness.begin();
    await ending;
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(stateOf(run)).toEqual({
      z: "text",
      b: "printed by b",
      all: [
        { status: "failed", error: { code: "broken", message: "x is broken", step_id: "x" } },
        { status: "completed", output: "text" },
      ],
    });
  });

  // Fails when the results that follow the rejected one, or the policy of the fork, keep the run going.
  test.each(["fail_fast", "collect"])(
    "because Postgres will never accept its result fails the run: %s",
    async (policy) => {
      harness.definition = steps(
        fanout([["x", "p"], ["y"]], { on_branch_error: policy, next_step_id: "b" }),
        llm("x"),
        print("p"),
        llm("y"),
        print("b"),
      );
      harness.generate = async (request) => (callOf(request).includes("x") ? JSON.parse(POISON) : "fine");
      const { run, ending } = harness.begin();
      expect(await ending).toEqual({ is: "ended" });
      expect(harness.errorOf(run)).toContain('"code":"result_rejected"');
      expect(harness.errorOf(run)).toContain('"step_id":"x"');
      expect(resultsOf(run)).not.toContain("a[0].p:1");
      expect(stateOf(run)).not.toHaveProperty("b");
    },
  );

  // Fails when the error names a step that has no part in it.
  test("by a limit of the run, before its first step, fails the run and no step", async () => {
    const fork = fanout([["b"], ["c"]], { concurrency: 1, on_branch_error: "collect" });
    harness.definition = { ...steps(fork, print("b"), print("c")), max_total_turns: 1 };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(linesOf(run).filter(({ type }) => type === "step_error")).toEqual([]);
    expect(linesOf(run).find(({ type }) => type === "orchestration_error")).toMatchObject({
      code: "max_total_turns",
    });
  });

  test("inside of another fork fails the branch around it, which `collect` keeps apart", async () => {
    harness.definition = steps(
      fanout([["i"], ["z"]], { on_branch_error: "collect", output_key: "all" }),
      { id: "i", type: "parallel", parallel_branches: [["x"], ["y"]] },
      llm("x"),
      llm("y"),
      llm("z"),
    );
    const { run, ending } = harness.begin();
    await ending;
    expect(stateOf(run)).toMatchObject({
      z: "text",
      all: [{ status: "failed", error: { step_id: "i", message: "x is broken" } }, { status: "completed" }],
    });
    expect(stateOf(run)).not.toHaveProperty("y");
  });
});

// Fails when the calls of a failed try count only while a try of that visit is under way.
test("what a failed try has cost counts for other branches while the next try waits", async () => {
  harness.definition = {
    ...steps(fanout([["x", "z"], ["y"]]), llm("x"), llm("z"), llm("y")),
    // Room for the worst case of both calls at once.
    max_total_cost_usd: 0.1,
  };
  const hasFailed = Promise.withResolvers<void>();
  harness.models = {
    generate: async ({ effectKey, onUsage }) => {
      if (!effectKey.includes(".y:")) {
        await hasFailed.promise;
        return { text: "text", tool_calls: [], usage: { ...usage, cost_micro_usd: 0 } };
      }
      onUsage?.({ ...usage, cost_micro_usd: 100_000 });
      setImmediate(hasFailed.resolve);
      throw new RetryableError("busy", "come back later", { retryAfterMs: 4_000 });
    },
  };
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.store.row(run.run_id).error).toContain('"code":"max_total_cost"');
  expect(harness.calls.map(callOf)).toEqual(["a[0].x:1:model.1", "a[1].y:1:model.1"]);
});

describe("a key that several branches write", () => {
  const merged = (merge_strategy: string) =>
    steps(
      fanout([["x"], ["y"], ["c", "z"]], { on_branch_error: "collect", next_step_id: "m" }),
      print("x", { output_key: "k", name: "Ex" }),
      llm("y", { output_key: "k" }),
      print("c"),
      print("z", { output_key: "k" }),
      { id: "m", type: "merge", input_keys: ["k"], merge_strategy, output_key: "m" },
    );

  // Fails when the join keeps the value of one branch, or the merge takes the list for one value.
  test.each([
    [
      "list",
      [
        { source: "Ex (x)", data: "printed by x" },
        { source: "y", data: "[y]" },
        { source: "z", data: "printed by z" },
      ],
    ],
    ["dict", { "Ex (x)": "printed by x", y: "[y]", z: "printed by z" }],
    ["concat", "[Ex (x)]\nprinted by x\n\n[y]\n[y]\n\n[z]\nprinted by z"],
  ])("is merged from each of them: %s", async (strategy, expected) => {
    harness.definition = merged(strategy);
    const { run, ending } = harness.begin();
    await ending;
    expect(stateOf(run)).toMatchObject({ m: expected, k: ["printed by x", "[y]", "printed by z"] });
  });

  test("has null for a branch that failed", async () => {
    harness.definition = merged("dict");
    harness.generate = async () => {
      throw new TerminalError("broken", "y is broken");
    };
    const { run, ending } = harness.begin();
    await ending;
    expect(stateOf(run)).toMatchObject({ m: { "Ex (x)": "printed by x", y: null, z: "printed by z" } });
  });
});

describe("a loop", () => {
  test("goes on with the state of the round before, and its keys are lists afterwards", async () => {
    harness.definition = steps(
      { id: "a", type: "loop", loop_count: 3, loop_step_ids: ["x", "y"], output_key: "lists" },
      { id: "x", type: "transform", transform_code: "result = (state.n ?? 0) + 1", output_key: "n" },
      print("y", { name: "Why", print_content: "{index}: {state.n}" }),
    );
    harness.transform = async (_code, state) => Number(state["n"] ?? 0) + 1;
    const { run, ending } = harness.begin();
    await ending;
    expect(stateOf(run)).toEqual({
      n: [1, 2, 3],
      y: ["0: 1", "1: 2", "2: 3"],
      lists: { x: [1, 2, 3], Why: ["0: 1", "1: 2", "2: 3"] },
    });
    const rounds = linesOf(run).filter(({ type }) => type === "loop_iteration");
    expect(rounds.map(({ iteration, total }) => [iteration, total])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
  });

  test("for each item of a list collects in order, whichever iteration is the first to end", async () => {
    harness.definition = steps(
      {
        id: "a",
        type: "loop",
        for_each: "state.items",
        concurrency: 3,
        loop_step_ids: ["x"],
      },
      llm("x", { prompt_template: "{item.name} {index}" }),
    );
    const answers: (() => void)[] = [];
    harness.generate = async ({ messages, effectKey }) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      answers.unshift(resolve);
      if (answers.length === 3) for (const answer of answers) answer();
      if (!effectKey.includes("[3]")) await promise;
      return String(messages.at(-1)?.content).split("\n").at(-1) ?? "";
    };
    const items = ["p", "q", "r", "s"].map((name) => ({ name }));
    const { run, ending } = harness.begin({ input: JSON.stringify({ message: "hello", state: { items } }) });
    await ending;
    expect(stateOf(run)).toEqual({ items, x: ["p 0", "q 1", "r 2", "s 3"] });
    expect(harness.calls.map(callOf).toSorted()).toEqual([
      "a[0].x:1:model.1",
      "a[1].x:1:model.1",
      "a[2].x:1:model.1",
      "a[3].x:1:model.1",
    ]);
  });

  // Fails when a round costs more, the more rounds were before it, or a worker holds all of their results.
  test("costs the same in its last rounds as in its first, and shows the newest 1,000 results", async () => {
    const roundsMs = async (loop_count: number): Promise<number> => {
      const loopHarness = new ExecutionHarness();
      const loop = { id: "a", type: "loop", loop_count, loop_step_ids: ["x"] };
      loopHarness.definition = { ...steps(loop, print("x")), max_total_turns: 10_000 };
      const before = cpuMs();
      const { run, ending } = loopHarness.begin();
      expect(await ending).toEqual({ is: "ended" });
      const ms = cpuMs() - before;
      const [final] = loopHarness
        .eventsOf(run)
        .split("\n")
        .filter((line) => line.startsWith('{"type":"final"'))
        .slice(-1);
      const { data } = JSON.parse(final ?? "");
      expect([data.step_history.length, data.step_count]).toEqual([1_000, loop_count + 1]);
      return ms / loop_count;
    };
    await roundsMs(1_000);
    const [few, many] = [await roundsMs(1_000), await roundsMs(8_000)];
    // Four times, because the test's store and the garbage collector have eight times the entries to work on too.
    expect(many).toBeLessThan(4 * few);
  });

  test("over a value that is no list fails", async () => {
    harness.definition = steps(
      { id: "a", type: "loop", for_each: "user_input", loop_step_ids: ["x"] },
      print("x"),
    );
    const { run, ending } = harness.begin();
    await ending;
    expect(harness.errorOf(run)).toContain("no_list");
  });

  test("over an empty list goes on at once, and what its steps write are empty lists", async () => {
    harness.definition = steps(
      { id: "a", type: "loop", for_each: "items", loop_step_ids: ["x"], output_key: "out" },
      print("x"),
    );
    const { run, ending } = harness.begin({
      input: JSON.stringify({ message: "hello", state: { items: [] } }),
    });
    await ending;
    expect(stateOf(run)).toEqual({ items: [], x: [], out: { x: [] } });
  });
});

describe("waits in branches", () => {
  const wait = (wait_id: string, answer: string | null = null) => ({
    wait_id,
    kind: "human" as const,
    child_run_id: null,
    state: answer === null ? ("open" as const) : ("answered" as const),
    due_in_ms: 3_600_000,
    open_for_ms: 1,
    answer,
    answered_by: answer === null ? null : "key_1",
  });
  const parksOf = (run: ClaimedRun) =>
    harness.store
      .entriesOf(run.run_id)
      .filter(({ kind }) => kind === "park")
      .map(({ status, step_path, waits }) => [status, step_path, waits.map(({ wait_id }) => wait_id)]);

  test("two questions are open at once, and the run pauses when nothing else moves", async () => {
    harness.definition = steps(fanout([["x"], ["y"], ["z"]]), human("x"), human("y"), llm("z"));
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    expect(resultsOf(run)).toEqual(["a[2].z:1"]);
    const parks = parksOf(run);
    expect(parks.map(([, path]) => path)).toContain("a[0].x");
    expect(parks.flatMap(([, , ids]) => ids)).toEqual(["a[0].x:1", "a[1].y:1"]);
    expect(parks.map(([status]) => status).filter((status) => status !== null)).toEqual(["paused"]);
    expect(linesOf(run).filter(({ type }) => type === "paused")).toHaveLength(1);
    const questions = linesOf(run).filter(({ type }) => type === "human_input_required");
    expect(questions.map(({ question_id }) => question_id)).toEqual(["a[0].x:1", "a[1].y:1"]);
  });

  // Fails when the answer of one question lets the other branch go on, or asks its question again.
  test("an answer moves its own branch alone", async () => {
    harness.definition = steps(
      fanout([
        ["x", "p"],
        ["y", "q"],
      ]),
      human("x"),
      print("p"),
      human("y"),
      print("q"),
    );
    const first = harness.begin();
    await first.ending;
    const next = new ExecutionHarness();
    next.definition = harness.definition;
    next.readWaits = async (_run, [id = ""]) => [wait(id, id === "a[1].y:1" ? '"yes"' : null)];
    const journal = storedOf(harness, first.run);
    harness = next;
    const second = next.begin({ attempt: 1, event_seq: journal.at(-1)?.seq ?? 0 }, journal);
    expect(await second.ending).toMatchObject({ is: "parked", status: "paused" });
    expect(resultsOf(second.run)).toEqual(["a[1].y:1", "a[1].q:1"]);
    expect(next.eventsOf(second.run)).not.toContain("human_input_required");
  });

  // Fails when the park has the time of the retry alone: the step would fail half an hour late.
  test("a retry that waits for longer than the step around it may take wakes the run at the limit of that step", async () => {
    harness.definition = steps(fanout([["i"]], { timeout_seconds: 60 }), fanoutOf("i", ["x"]), llm("x"));
    harness.generate = async () => {
      throw new RetryableError("busy", "come back later", { retryAfterMs: 1_500_000 });
    };
    const { run, ending } = harness.begin();
    const parked = await ending;
    expect(parked).toMatchObject({ is: "parked", status: "queued" });
    expect(parked.is === "parked" && parked.delayMs).toBeLessThanOrEqual(61_000);
    const next = new ExecutionHarness();
    next.definition = harness.definition;
    const journal = storedOf(harness, run);
    harness = next;
    const resumed = next.begin(
      { attempt: 1, event_seq: journal.at(-1)?.seq ?? 0, running_for_ms: 61_000 },
      journal,
    );
    expect(await resumed.ending).toEqual({ is: "ended" });
    expect(next.errorOf(resumed.run)).toContain("step_timeout");
  });

  // Fails when a park that is refused leaves the retry out of the journal: its tries would begin anew, and nothing would charge them.
  test("a retry whose park is refused is committed before the answered branch goes on", async () => {
    harness.definition = steps(fanout([["x", "z"], ["y"]]), human("x"), llm("z"), llm("y"));
    let isAnswered = false;
    harness.readWaits = async (_run, [id = ""]) => [wait(id, isAnswered ? '"yes"' : null)];
    const { run, ending } = harness.begin();
    harness.generate = async ({ effectKey }) => {
      if (effectKey.includes("z:1")) {
        harness.stop.abort(new Stop("drain", "the worker ends"));
        return "";
      }
      await until("x has asked", () => parksOf(run).length === 1);
      isAnswered = true;
      harness.store.row(run.run_id).signals = 1;
      throw new RetryableError("busy", "come back later", { retryAfterMs: 30_000 });
    };
    expect(await ending).toEqual({ is: "stopped" });
    expect(parksOf(run)).toEqual([
      [null, "a[0].x", ["a[0].x:1"]],
      [null, "a[1].y", []],
    ]);
  });

  // Fails when a track compares the signals after its park with those after it: the run would be paused with its answer.
  test("an answer to a question whose commit had an unknown outcome is read", async () => {
    harness.definition = steps(fanout([["x"], ["y"]]), human("x"), llm("y"));
    let isAnswered = false;
    harness.readWaits = async (_run, [id = ""]) => [wait(id, isAnswered ? '"yes"' : null)];
    const { flush } = harness.store.store;
    harness.store.store.flush = async (entries) => {
      const committed = await flush(entries);
      if (isAnswered || !entries.some(({ kind }) => kind === "park")) return committed;
      isAnswered = true;
      harness.store.row(run.run_id).signals = 1;
      throw new SqlError("08006");
    };
    const { run, runLog, ending } = harness.begin();
    harness.generate = async () => {
      await until("the worker has looked the park up", () => runLog.signals === 1);
      return "done";
    };
    expect(await ending).toEqual({ is: "ended" });
    expect(resultsOf(run)).toContain("a[0].x:1");
  });

  test("a retry beside a question wakes the run for the retry", async () => {
    harness.definition = steps(fanout([["x"], ["y"]]), human("x"), llm("y"));
    harness.generate = async () => {
      throw new RetryableError("busy", "come back later", { retryAfterMs: 30_000 });
    };
    const { run, ending } = harness.begin();
    const ended = await ending;
    expect(ended).toMatchObject({ is: "parked", status: "queued" });
    expect(ended.is === "parked" && ended.delayMs).toBeLessThanOrEqual(30_000);
    expect(harness.store.row(run.run_id).status).toBe("queued");
  });
});

describe("a run that is taken over", () => {
  const definition = steps(
    fanout(
      [
        ["x", "y"],
        ["l", "z"],
      ],
      { next_step_id: "m" },
    ),
    llm("x"),
    llm("y", { output_key: "k" }),
    print("z", { output_key: "k" }),
    { id: "m", type: "merge", input_keys: ["k"], output_key: "m", next_step_id: "b" },
    { id: "l", type: "loop", loop_count: 2, loop_step_ids: ["p", "q"] },
    llm("p", { prompt_template: "{index}" }),
    llm("q"),
    print("b", { print_content: "{state.m} {state.q}", next_step_id: "c" }),
    llm("c"),
  );

  // Fails when any committed step runs again, or the fold loses a part of a track.
  test("after any of its entries has the same result, and no committed step runs again", async () => {
    harness.definition = definition;
    const whole = harness.begin();
    await whole.ending;
    const expected = stateOf(whole.run);
    const all = storedOf(harness, whole.run);
    for (let n = 1; n < all.length; n++) {
      const prefix = all.slice(0, n);
      const done = prefix.flatMap((entry) => {
        const { kind, record } = { record: null, ...recordOf(entry) };
        return kind === "step" && record !== null ? [record] : [];
      });
      const next = new ExecutionHarness();
      next.definition = definition;
      next.generate = harness.generate;
      const { run, ending } = next.begin({ attempt: 1, event_seq: prefix.at(-1)?.seq ?? 0 }, prefix);
      expect(await ending).toEqual({ is: "ended" });
      const [before, harnessBefore] = [harness.calls.map(callOf), harness];
      harness = next;
      expect(stateOf(run), `after entry ${n}`).toEqual(expected);
      const callsOfNext = next.calls.map(callOf);
      harness = harnessBefore;
      expect(new Set(before)).toEqual(
        new Set([
          ...done.flatMap(({ effects }) => effects).map((key) => key.split(":").slice(1).join(":")),
          ...callsOfNext,
        ]),
      );
      expect(
        done
          .flatMap(({ effects }) => effects)
          .filter((key) => callsOfNext.includes(key.split(":").slice(1).join(":"))),
      ).toEqual([]);
    }
    expect(all.length).toBeGreaterThan(6);
  });
});

// Fails when the run's time of its earlier life counts for the limit: the branches would have that much longer.
test("branches that a client's retry goes on with have the time of their step again, and no more", async () => {
  harness.definition = steps(fanout([["x"]], { timeout_seconds: 1 }), llm("x"));
  harness.generate = () => new Promise<string>(() => {});
  const fork = { in: "branches", count: 1, began_at: "2026-06-04T00:00:00.000Z", run_ms: 1_200_000 };
  const began = { step: "a", visit: 1, data: null, fork };
  const entry = (seq: number, kind: StoredEntry["kind"], output: Json): StoredEntry => {
    return { seq, kind, output: JSON.stringify(output), events: "{}" };
  };
  const failed = { code: "x", message: "broken", step_id: null };
  const journal = [
    entry(1, "turn", began),
    entry(2, "end", { status: "failed", checkpoint: null, response: "broken", error: failed }),
    entry(3, "rewind", { keep_seq: 2 }),
  ];
  const { run, ending } = harness.begin({ attempt: 1, event_seq: 3 }, journal);
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.errorOf(run)).toContain("step_timeout");
});

test("a cancel stops all branches", async () => {
  harness.definition = steps(fanout([["x"], ["y"]]), llm("x"), llm("y"));
  const stopped: string[] = [];
  harness.generate = async ({ effectKey, signal }) => {
    if (harness.calls.length === 2) harness.stop.abort(new Stop("cancel", "the run was cancelled"));
    await until("the call is stopped", () => signal.aborted);
    stopped.push(effectKey);
    signal.throwIfAborted();
    return "";
  };
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.store.row(run.run_id).status).toBe("cancelled");
  await until("both are stopped", () => stopped.length === 2);
});
