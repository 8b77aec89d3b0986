import { describe, expect, test } from "vitest";
import { addResult, initialProgress, initialState } from "../../../shared/journal/fold.ts";
import { endEvents } from "../../../shared/journal/ending.ts";
import { stepStart } from "../../../worker-node/engine/events.ts";
import { finalResponse, next, toCheckpoint } from "../../../worker-node/engine/machine.ts";
import { orchestration } from "./context.ts";
import type { Orchestration } from "../../../shared/contracts/definition/index.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { Progress } from "../../../shared/journal/fold.ts";
import type { StepResult } from "../../../worker-node/engine/ports.ts";

const print = (id: string, fields: object = {}): object => ({
  id,
  name: id,
  type: "print",
  print_content: "x",
  ...fields,
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
const emptyResult: StepResult = { set: {}, events: [], usage: [], effects: [] };

/** Runs a definition to its end, with `results` by step. Returns the visits in order, and how the run ended. */
function play(definition: Orchestration, results: { [step: string]: Partial<StepResult> } = {}) {
  const progress: Progress = initialProgress(initialState(definition, { message: "hi", state: {} }));
  const steps: string[] = [];
  const events: string[] = [];
  for (let turn = 0; turn < 300; turn++) {
    const todo = next(definition, progress, progress);
    if (todo.do === "end") return { steps, events, end: todo, progress };
    const visited = toCheckpoint(
      { definition, track: progress, step: todo.step, visit: todo.visit },
      { ...emptyResult, ...results[todo.step.id] },
      timing,
    );
    steps.push(`${todo.step.id}${todo.visit}`);
    events.push(...visited.events.map((event) => event.type));
    addResult(progress, visited.checkpoint);
  }
  throw new Error("the run does not end");
}

describe("initial state", () => {
  test("has the schema's defaults, over them the request's state, over both the message", () => {
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
  test("follows next_step_id from its entry step, and completes at a step without one", () => {
    const played = play(orchestration([print("a", { next_step_id: "b" }), print("b")]));
    expect(played).toMatchObject({ steps: ["a1", "b1"], end: { do: "end", status: "completed" } });
  });

  test("follows a step's route, and ends at a route without a target, whatever next_step_id says", () => {
    const steps = [print("a", { next_step_id: "b" }), print("b", { next_step_id: "c" }), print("c")];
    expect(play(orchestration(steps), { a: { route: { target: "c" } } }).steps).toEqual(["a1", "c1"]);
    expect(play(orchestration(steps), { a: { route: { target: null } } }).steps).toEqual(["a1"]);
    expect(play(orchestration(steps), { b: { ends: true } }).steps).toEqual(["a1", "b1"]);
  });

  test("skips a step that has reached its max_iterations, publishes the limit, and goes to that step's next_step_id", () => {
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
    // b always leads to a. When a has reached its limit, its next step is b, until b has reached its own and leads to c.
    const played = play(definition, { b: { route: { target: "a" } } });
    expect(played.steps.filter((name) => name.startsWith("a"))).toEqual(["a1", "a2"]);
    expect(played.steps.at(-1)).toBe("c1");
    expect(played.end).toMatchObject({ status: "completed" });
    expect(played.events.filter((type) => type === "loop_limit_reached").length).toBeGreaterThan(0);
  });

  test("publishes a loop limit after the routing decision, and its checkpoint has the target behind the limit", () => {
    const definition = orchestration([
      print("a", { max_iterations: 1, next_step_id: "b" }),
      print("b", { next_step_id: "a", max_iterations: 5 }),
    ]);
    const [stepA, stepB] = definition.steps;
    if (stepA === undefined || stepB === undefined) throw new Error("no steps");
    const progress = initialProgress({});
    addResult(
      progress,
      toCheckpoint({ definition, track: progress, step: stepA, visit: 1 }, emptyResult, timing).checkpoint,
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
    const visited = toCheckpoint(
      { definition, track: progress, step: stepB, visit: 1 },
      { ...emptyResult, route: { target: "a" }, after },
      timing,
    );
    expect(visited.events.map((event) => event.type)).toEqual([
      "step_complete",
      "routing_decision",
      "loop_limit_reached",
    ]);
    expect(visited.events[2]).toEqual({
      type: "loop_limit_reached",
      orch_step_id: "a",
      iterations: 1,
      max_iterations: 1,
    });
    expect(visited.checkpoint.next).toBe("b");
  });

  test("whose cycle has reached its limit and has no way out fails", () => {
    const steps = [
      print("a", { next_step_id: "b", max_iterations: 2 }),
      print("b", { next_step_id: "a", max_iterations: 2 }),
    ];
    const played = play(orchestration(steps));
    expect(played).toMatchObject({
      steps: ["a1", "b1", "a2", "b2"],
      end: { status: "failed", error: { code: "loop_limit_reached", step_id: expect.any(String) } },
    });
    expect(played.events.filter((type) => type === "loop_limit_reached")).toHaveLength(2);
  });

  test.each([
    ["absent", {}, { status: "failed", error: { code: "loop_limit_reached" } }],
    ["null", { next_step_id: null }, { status: "completed" }],
    ["empty", { next_step_id: "" }, { status: "completed" }],
  ])(
    "that comes to a loop's limit at a step whose next_step_id is %s ends as that field says",
    (_, fields, end) => {
      const steps = [
        print("work", { next_step_id: "check" }),
        {
          id: "check",
          type: "evaluator",
          route_map: { again: "work", good: null },
          max_iterations: 2,
          ...fields,
        },
      ];
      const played = play(orchestration(steps), { check: { route: { target: "work" } } });
      expect(played.steps).toEqual(["work1", "check1", "work2", "check2", "work3"]);
      expect(played.end).toMatchObject(end);
    },
  );

  test("fails with max_total_turns unless it is at its end by then", () => {
    const steps = [print("a", { next_step_id: "b" }), print("b", { next_step_id: "c" }), print("c")];
    expect(play(orchestration(steps, { max_total_turns: 2 })).end).toMatchObject({
      status: "failed",
      error: { code: "max_total_turns", step_id: null, message: expect.stringContaining("turn limit of 2") },
    });
    expect(play(orchestration(steps, { max_total_turns: 3 })).end).toMatchObject({ status: "completed" });
  });

  test("fails with max_total_cost when it has spent that much", () => {
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

test("a checkpoint sums the usage of its turns and of its result", () => {
  const definition = orchestration([print("a", { output_key: "k" })]);
  const [a] = definition.steps;
  if (a === undefined) throw new Error("no step");
  const result = { ...emptyResult, set: { k: "v" }, usage: [usage("model.2")], effects: ["e"] };
  const { checkpoint, events } = toCheckpoint(
    { definition, track: initialProgress({}), step: a, visit: 1 },
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
  expect(stepStart(a, { path: "" })).toEqual({
    type: "step_start",
    orch_step_id: "a",
    step_name: "a",
    step_type: "print",
  });
});

describe("the end of a run", () => {
  const definition = orchestration([print("a", { output_key: "out", next_step_id: "b" }), print("b")]);
  const played = play(definition, { a: { set: { out: "value", _hidden: "x" } } });
  const run = { run_id: "run_1", orchestration_id: "orch", steps: definition.steps };

  test("has as response that of the last step, else the last value with a key, else a sentence", () => {
    expect(finalResponse(played.progress, "response")).toBe("response");
    expect(finalResponse(played.progress, undefined)).toBe("value");
    expect(finalResponse(initialProgress({}), undefined)).toBe("Completed after 0 steps.");
  });

  // Fails when null counts as no value: a parent would take the sentence for the answer of its child.
  test("has a value of null as its response", () => {
    const empty = play(definition, { a: { set: { out: null } } });
    expect(finalResponse(empty.progress, undefined)).toBeNull();
  });

  test("has its events in order, with the history and without the engine's own keys", () => {
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

  test("names the failed step in the history; a failure outside a step has an event of its own", () => {
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
