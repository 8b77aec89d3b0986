import { describe, expect, test } from "vitest";
import { applyResult, initialProgress } from "../../../shared/journal/fold.ts";
import { endEvents } from "../../../shared/journal/ending.ts";
import { finalResponse, stepStart } from "../../../worker-node/engine/events.ts";
import { next, toCheckpoint } from "../../../worker-node/engine/machine.ts";
import { initialState } from "../../../shared/journal/initial-state.ts";
import { orchestration } from "./context.ts";
import type { Orchestration } from "../../../shared/contracts/definition/index.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { Progress } from "../../../shared/journal/fold.ts";
import type { StepResult } from "../../../worker-node/engine/ports.ts";

const print = (id: string, more: object = {}): object => ({
  id,
  name: id,
  type: "print",
  print_content: "x",
  ...more,
});
const timing = { startedAt: "2026-01-01T00:00:00.000Z", durationMs: 1_234, tries: 1, earlierUsage: [] };
const usage = (call: string) => ({
  call,
  provider: "p",
  model: "m",
  input_tokens: 10,
  output_tokens: 5,
  cost_micro_usd: 7,
});
const nothing: StepResult = { set: {}, events: [], usage: [], effects: [] };

/** Carries a run on until it ends, with `results` by step; answers the steps in their order and how it ended. */
function play(definition: Orchestration, results: { [step: string]: Partial<StepResult> } = {}) {
  let progress: Progress = initialProgress(initialState(definition, { message: "hi", state: {} }));
  const steps: string[] = [];
  const events: string[] = [];
  for (let turn = 0; turn < 300; turn++) {
    const now = next(definition, progress);
    if (now.do === "end") return { steps, events, end: now, progress };
    const settled = toCheckpoint(
      { definition, progress, step: now.step, visit: now.visit },
      { ...nothing, ...results[now.step.id] },
      timing,
    );
    steps.push(`${now.step.id}${now.visit}`);
    events.push(...settled.events.map((event) => event.type));
    progress = applyResult(progress, settled.checkpoint);
  }
  throw new Error("the run does not end");
}

describe("state at the start", () => {
  test("is the schema's defaults, then the request's, and the message, which nothing overrides", () => {
    const definition = orchestration([print("a")], {
      state_schema: { n: { type: "number", default: 3 }, s: { type: "string" }, t: { default: "old" } },
    });
    const state = initialState(definition, {
      message: "hi",
      state: { t: "new", extra: [1], user_input: "forged" },
    });
    expect(state).toEqual({ n: 3, s: null, t: "new", extra: [1], user_input: "hi", user_query: "hi" });
  });
});

describe("a run", () => {
  test("goes from the entry step along next_step_id and completes where nothing follows", () => {
    const played = play(orchestration([print("a", { next_step_id: "b" }), print("b")]));
    expect(played).toMatchObject({ steps: ["a1", "b1"], end: { do: "end", status: "completed" } });
  });

  test("goes where a step's route leads, and ends at a route without a target, whatever follows", () => {
    const steps = [print("a", { next_step_id: "b" }), print("b", { next_step_id: "c" }), print("c")];
    expect(play(orchestration(steps), { a: { route: { target: "c" } } }).steps).toEqual(["a1", "c1"]);
    expect(play(orchestration(steps), { a: { route: { target: null } } }).steps).toEqual(["a1"]);
    expect(play(orchestration(steps), { b: { ends: true } }).steps).toEqual(["a1", "b1"]);
  });

  test("passes by a step that has had its max_iterations, tells it, and goes on at that step's next", () => {
    const definition = orchestration([
      print("a", { next_step_id: "b", max_iterations: 2 }),
      {
        id: "b",
        type: "switch",
        switch_expression: "1",
        switch_cases: { again: "a" },
        next_step_id: "c",
        max_iterations: 9,
      },
      print("c"),
    ]);
    // b always leads to a; when a is used up, a's next is b itself, until b is used up too and leads to c.
    const played = play(definition, { b: { route: { target: "a" } } });
    expect(played.steps.filter((name) => name.startsWith("a"))).toEqual(["a1", "a2"]);
    expect(played.steps.at(-1)).toBe("c1");
    expect(played.end).toMatchObject({ status: "completed" });
    expect(played.events.filter((type) => type === "loop_limit_reached").length).toBeGreaterThan(0);
  });

  test("tells the guard after the routing decision, and its checkpoint holds the guarded target", () => {
    const definition = orchestration([
      print("a", { max_iterations: 1, next_step_id: "b" }),
      print("b", { next_step_id: "a", max_iterations: 5 }),
    ]);
    const [a, b] = definition.steps;
    if (a === undefined || b === undefined) throw new Error("no steps");
    let progress = initialProgress({});
    progress = applyResult(
      progress,
      toCheckpoint({ definition, progress, step: a, visit: 1 }, nothing, timing).checkpoint,
    );
    const after = [
      {
        type: "routing_decision" as const,
        orch_step_id: "b",
        step_name: "b",
        decision: "x",
        target_step_id: "a",
        reasoning: "",
      },
    ];
    const settled = toCheckpoint(
      { definition, progress, step: b, visit: 1 },
      { ...nothing, route: { target: "a" }, after },
      timing,
    );
    expect(settled.events.map((event) => event.type)).toEqual([
      "step_complete",
      "routing_decision",
      "loop_limit_reached",
    ]);
    expect(settled.events[2]).toEqual({
      type: "loop_limit_reached",
      orch_step_id: "a",
      iterations: 1,
      max_iterations: 1,
    });
    expect(settled.checkpoint.next).toBe("b");
  });

  test("ends when every step of a cycle has been passed by", () => {
    const steps = [
      print("a", { next_step_id: "b", max_iterations: 2 }),
      print("b", { next_step_id: "a", max_iterations: 2 }),
    ];
    expect(play(orchestration(steps))).toMatchObject({
      steps: ["a1", "b1", "a2", "b2"],
      end: { status: "completed" },
    });
  });

  test("fails with max_total_turns when it has had them and is not at its end, and completes when it is", () => {
    const steps = [print("a", { next_step_id: "b" }), print("b", { next_step_id: "c" }), print("c")];
    expect(play(orchestration(steps, { max_total_turns: 2 })).end).toMatchObject({
      status: "failed",
      error: { code: "max_total_turns", step_id: null },
    });
    expect(play(orchestration(steps, { max_total_turns: 3 })).end).toMatchObject({ status: "completed" });
  });

  test("fails with max_total_cost when it has spent it", () => {
    const steps = [print("a", { next_step_id: "b" }), print("b")];
    const spend = { a: { usage: [usage("model.1")] } };
    expect(play(orchestration(steps, { max_total_cost_usd: 0.000007 }), spend).end).toMatchObject({
      status: "failed",
      error: { code: "max_total_cost" },
    });
    expect(play(orchestration(steps, { max_total_cost_usd: 0.000008 }), spend).end).toMatchObject({
      status: "completed",
    });
  });
});

test("a checkpoint sums what its turns and its result have used", () => {
  const definition = orchestration([print("a", { output_key: "k" })]);
  const [a] = definition.steps;
  if (a === undefined) throw new Error("no step");
  const result = { ...nothing, set: { k: "v" }, usage: [usage("model.2")], effects: ["e"] };
  const { checkpoint, events } = toCheckpoint(
    { definition, progress: initialProgress({}), step: a, visit: 1 },
    result,
    {
      ...timing,
      earlierUsage: [usage("model.1")],
    },
  );
  expect(checkpoint).toMatchObject({
    tokens: 30,
    cost_micro_usd: 14,
    duration_ms: 1_234,
    effects: ["e"],
    output_key: "k",
  });
  expect(events).toEqual([
    { type: "step_complete", orch_step_id: "a", step_name: "a", duration_seconds: 1.23 },
  ]);
  expect(stepStart(a)).toEqual({ type: "step_start", orch_step_id: "a", step_name: "a", step_type: "print" });
});

describe("the end of a run", () => {
  const definition = orchestration([print("a", { output_key: "out", next_step_id: "b" }), print("b")]);
  const played = play(definition, { a: { set: { out: "value", _hidden: "x" } } });
  const run = { run_id: "run_1", orchestration_id: "orch", steps: definition.steps };

  test("answers what the last step said, else the last value that was given a key, else a sentence", () => {
    expect(finalResponse(played.progress, "said")).toBe("said");
    expect(finalResponse(played.progress, undefined)).toBe("value");
    expect(finalResponse(initialProgress({}), undefined)).toBe("Completed after 0 steps.");
  });

  test("is told in its order, with the history and without the engine's own keys", () => {
    const end = { status: "completed" as const, checkpoint: null, response: "value", error: null };
    const events = endEvents(run, end, played.progress);
    expect(events.map((event) => event.type)).toEqual(["orchestration_complete", "final", "done"]);
    const state: JsonObject = { user_input: "hi", user_query: "hi", out: "value" };
    expect(events[0]).toEqual({ type: "orchestration_complete", status: "completed", final_state: state });
    expect(events[1]).toMatchObject({
      intent: "orchestration",
      response: "value",
      tool_name: null,
      data: {
        run_id: "run_1",
        status: "completed",
        shared_state: state,
        step_history: [
          {
            step_id: "a",
            status: "completed",
            started_at: timing.startedAt,
            ended_at: "2026-01-01T00:00:01.234Z",
          },
          { step_id: "b", status: "completed" },
        ],
      },
    });
  });

  test("names the failed step in the history; a failure outside of steps gets an event of its own", () => {
    const error = { code: "timeout", message: "too slow", step_id: "b" };
    const inStep = endEvents(
      run,
      { status: "failed", checkpoint: null, response: "", error },
      played.progress,
    );
    expect(inStep[1]).toMatchObject({
      data: { step_history: [{}, {}, { step_id: "b", status: "failed", error: "too slow" }] },
    });
    const outside = {
      status: "failed" as const,
      checkpoint: null,
      response: "",
      error: { ...error, step_id: null },
    };
    expect(endEvents(run, outside, played.progress)[0]).toEqual({
      type: "orchestration_error",
      error: "too slow",
      code: "timeout",
    });
  });
});
