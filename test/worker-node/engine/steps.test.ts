import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../../worker-node/engine/step-errors.ts";
import { run, step, fakeContext } from "./context.ts";

describe("print", () => {
  test("renders its content, stores it under its key, and returns it as its response", async () => {
    const { context } = fakeContext({ state: { n: 2 } });
    const result = await run(
      step({ type: "print", print_content: "n={state.n}, {input}", output_key: "out", input_keys: ["n"] }),
      context,
    );
    expect(result).toMatchObject({ set: { out: "n=2, the message" }, response: "n=2, the message" });
    expect(result.events).toMatchObject([{ type: "final", response: "n=2, the message", orch_step_id: "s" }]);
  });
});

test("an end step ends the run and has an event", async () => {
  const result = await run(step({ type: "end" }), fakeContext({}).context);
  expect(result).toMatchObject({ ends: true, events: [{ type: "orchestration_end", orch_step_id: "s" }] });
});

describe("code", () => {
  const reference = {
    $ref: "acme/run/v/1.1/set.large",
    size: 40_000,
    content_type: "application/json",
    preview: "x",
    url: "/x",
  };
  const steps = (code: string) => [
    { type: "if_else", if_condition: code, if_true_step_id: "s", if_false_step_id: null },
    { type: "switch", switch_expression: code, switch_default_step_id: "s" },
    { type: "transform", transform_code: `result = ${code}` },
  ];

  // Fails when each expression gets the whole state: that of a run with 12 MB held up the worker for 66 ms at each condition.
  test.each([
    ["state.small > 1", ["small"], 0],
    ["state.get('large').length", ["large"], 1],
    ["Object.keys(state).length", ["small", "large", "other"], 1],
  ])("%s gets what it can reach of state, and loads no more: %j", async (code, keys, loads) => {
    for (const fields of steps(code)) {
      const seen: string[][] = [];
      const look = async (_: string, state: JsonObject) => {
        seen.push(Object.keys(state));
        return 1;
      };
      let loaded = 0;
      const { context } = fakeContext({
        state: { small: 2, large: reference, other: "x" },
        evaluate: look,
        transform: look,
      });
      await run(step(fields), { ...context, load: async () => `${(loaded += 1)}` });
      expect({ seen, loaded }).toEqual({ seen: [keys], loaded: loads });
    }
  });
});

describe("if_else", () => {
  const fields = {
    type: "if_else",
    if_condition: "state.x",
    if_true_step_id: "s",
    next_step_id: null,
    output_key: "yes",
  };
  test.each([
    [true, true, "s"],
    ["text", true, "s"],
    [0, false, null],
    [null, false, null],
    [[], false, null],
    [{}, false, null],
  ])("takes %j as %s", async (value, decision, target) => {
    const { context } = fakeContext({ evaluate: async () => value });
    const result = await run(step(fields), context);
    expect(result).toMatchObject({
      route: { target },
      set: { yes: decision, _if_decision_s: String(decision) },
    });
    expect(result.after).toMatchObject([{ type: "if_decision", decision, target_step_id: target }]);
  });

  test.each([
    [{}, "no_route"],
    [{ if_false_step_id: null }, null],
    [{ if_false_step_id: "" }, null],
    [{ next_step_id: null }, null],
    [{ next_step_id: "s" }, "s"],
    [{ if_false_step_id: null, next_step_id: "s" }, "s"],
  ])("that is false goes on, ends or fails as its targets say: %j", async (targets, expected) => {
    const { context } = fakeContext({ evaluate: async () => false });
    const running = run(step({ ...fields, next_step_id: undefined, ...targets }), context);
    if (expected === "no_route") {
      await expect(running).rejects.toMatchObject({ name: "TerminalError", code: "no_route" });
    } else expect((await running).route).toEqual({ target: expected });
  });

  test("fails when its condition throws; the condition does not count as false", async () => {
    const { context } = fakeContext({
      evaluate: async () => Promise.reject(new TerminalError("expression", "no")),
    });
    await expect(run(step(fields), context)).rejects.toMatchObject({ code: "expression" });
  });

  test("evaluates its condition on the values behind references", async () => {
    const reference = { $ref: "big", size: 1, content_type: "x", preview: "" };
    const seen: unknown[] = [];
    const { context } = fakeContext({
      state: { big: reference },
      blobs: { big: "loaded" },
      evaluate: async (_, state) => (seen.push(state), true),
    });
    await run(step({ ...fields, if_condition: "state.big" }), context);
    expect(seen).toEqual([{ big: "loaded" }]);
  });
});

describe("switch", () => {
  const fields = {
    type: "switch",
    switch_expression: "state.x",
    switch_cases: { a: "s", "1": "s", True: "s", stop: null },
    switch_default_step_id: null,
    next_step_id: "s",
  };
  test.each([
    ["a", "a", "s"],
    [1, "1", "s"],
    [true, "True", "s"],
    ["stop", "stop", null],
    ["other", null, null],
    ["constructor", null, null],
  ])("on %j takes the case %j", async (value, matched_case, target_step_id) => {
    const result = await run(step(fields), fakeContext({ evaluate: async () => value }).context);
    expect(result.after).toMatchObject([{ type: "switch_decision", matched_case, target_step_id }]);
    expect(result.route).toEqual({ target: target_step_id });
  });

  test.each(["Refund", null, 7, { kind: "refund" }])(
    "on %j, which no case names, fails when there is no default; null as a case or a default is an end",
    async (value) => {
      const { context } = fakeContext({ evaluate: async () => value });
      const cases = {
        type: "switch",
        switch_expression: "state.kind",
        switch_cases: { refund: "s", billing: null },
      };
      await expect(run(step(cases), context)).rejects.toMatchObject({
        name: "TerminalError",
        code: "no_route",
      });
      await expect(run(step({ ...cases, next_step_id: "s" }), context)).rejects.toMatchObject({
        code: "no_route",
      });
      expect((await run(step({ ...cases, switch_default_step_id: "s" }), context)).route).toEqual({
        target: "s",
      });
      expect((await run(step({ ...cases, switch_default_step_id: null }), context)).route).toEqual({
        target: null,
      });
      const billing = fakeContext({ evaluate: async () => "billing" });
      expect((await run(step(cases), billing.context)).route).toEqual({ target: null });
    },
  );

  test("without cases leads to its next step", async () => {
    const { context } = fakeContext({ evaluate: async () => "x" });
    expect((await run(step({ ...fields, switch_cases: {} }), context)).route).toEqual({ target: "s" });
  });
});

describe("extract_json", () => {
  const fields = { type: "extract_json", input_keys: ["a", "b"], output_key: "out" };
  test("returns one value, or a list of several, from the text of all its keys", async () => {
    const oneValue = await run(step(fields), fakeContext({ state: { a: 'text {"x": 1}' } }).context);
    expect(oneValue.set).toEqual({ out: { x: 1 } });
    const twoValues = await run(
      step(fields),
      fakeContext({ state: { a: 'one {"x": 1}', b: "two [2]" } }).context,
    );
    expect(twoValues.set).toEqual({ out: [{ x: 1 }, [2]] });
  });

  test("asks the model once for the JSON of a text that has none, and charges the call", async () => {
    const { context, modelCalls } = fakeContext({
      answers: ['```json\n{"x": 1, "y": [2]}\n```'],
      state: { a: '{"x": 1, "y": [2', b: "later" },
    });
    const done = await run(step({ ...fields, model: "demo/echo" }), context);
    expect(done.set).toEqual({ out: { x: 1, y: [2] } });
    expect(modelCalls).toHaveLength(1);
    expect(modelCalls[0]).toMatchObject({ model: "demo/echo", tools: [] });
    expect(modelCalls[0]?.messages.at(-1)?.content).toBe('{"x": 1, "y": [2\n\nlater');
    expect(done.usage).toHaveLength(1);
    expect(done.effects).toHaveLength(1);
  });

  test("does not call the model for a text with JSON, nor for no text at all", async () => {
    const found = fakeContext({ state: { a: "[1]" } });
    await run(step(fields), found.context);
    expect(found.modelCalls).toEqual([]);
    const blank = fakeContext({ state: { a: " ", c: "elsewhere" } });
    await expect(run(step(fields), blank.context)).rejects.toMatchObject({ code: "no_json" });
    expect(blank.modelCalls).toEqual([]);
  });

  test("fails when the model finds no JSON either", async () => {
    const { context, modelCalls } = fakeContext({
      answers: ["There is none.", "unused"],
      state: { a: "I would rather not." },
    });
    await expect(run(step(fields), context)).rejects.toMatchObject({
      name: "TerminalError",
      code: "no_json",
    });
    expect(modelCalls).toHaveLength(1);
  });
});

test("a transform stores the result of its code, and fails with its code", async () => {
  const fields = step({ type: "transform", transform_code: "result = 1", output_key: "out" });
  const done = await run(fields, fakeContext({ transform: async () => ({ n: 1 }) }).context);
  expect(done).toMatchObject({
    set: { out: { n: 1 } },
    events: [{ type: "transform_result", result: { n: 1 } }],
  });
  const broken = fakeContext({ transform: async () => Promise.reject(new TerminalError("transform", "no")) });
  await expect(run(fields, broken.context)).rejects.toMatchObject({ code: "transform" });
});

describe("llm", () => {
  // Fails when a model is paid for an answer to nothing.
  test.each([
    [
      "a template that renders to nothing",
      { prompt_template: " {state.empty}\n", input_keys: ["empty"] },
      "the message",
    ],
    ["neither template, message nor inputs", { input_keys: ["empty", "gone"] }, ""],
  ])("with %s fails, and calls no model", async (_what, fields, message) => {
    const { context, modelCalls } = fakeContext({ answers: ["x"], state: { empty: "" } });
    const running = run(step({ type: "llm", ...fields }), { ...context, message });
    await expect(running).rejects.toMatchObject({ code: "template" });
    await expect(running).rejects.toBeInstanceOf(TerminalError);
    expect(modelCalls).toEqual([]);
  });

  test("without a template asks about its inputs alone, where the run has no message", async () => {
    const { context, modelCalls } = fakeContext({ answers: ["x"], state: { notes: "n" } });
    await run(step({ type: "llm", input_keys: ["notes"] }), { ...context, message: "" });
    expect(modelCalls).toHaveLength(1);
  });

  test("calls the model once with its inputs and its task, publishes the text, and reports usage and effect", async () => {
    const { context, modelCalls, noted } = fakeContext({
      answers: ["the answer"],
      state: { notes: "some notes", later: "" },
    });
    const fields = {
      type: "llm",
      prompt_template: "Sum up.",
      input_keys: ["notes", "gone"],
      output_key: "out",
      model: "default",
    };
    const result = await run(step(fields), context);
    expect(result).toMatchObject({
      set: { out: "the answer" },
      usage: [{ call: "model.1", input_tokens: 10 }],
      effects: ["run_1:s:1:model.1"],
    });
    expect(modelCalls[0]).toMatchObject({ model: null, effectKey: "run_1:s:1:model.1" });
    const prompt = modelCalls[0]?.messages[1]?.content;
    expect(prompt).toContain("## Input: notes\nsome notes");
    expect(prompt).toContain("## Your task\nSum up.");
    expect(prompt).not.toContain("gone");
    expect(noted).toEqual([{ type: "llm_delta", orch_step_id: "s", first: true, text: "the answer" }]);
  });

  test("uses the effect suffix, so that a try after a refusal is a new call", async () => {
    const { context, modelCalls } = fakeContext({ answers: ["x"] });
    await run(step({ type: "llm" }), { ...context, effectSuffix: ":2" });
    expect(modelCalls[0]?.effectKey).toBe("run_1:s:1:model.1:2");
  });

  test("fails when the model fails or returns no text; no error becomes output", async () => {
    const failing = fakeContext({ answers: [new RetryableError("model_rate_limited", "x")] });
    await expect(run(step({ type: "llm" }), failing.context)).rejects.toMatchObject({
      code: "model_rate_limited",
    });
    await expect(run(step({ type: "llm" }), fakeContext({ answers: [" "] }).context)).rejects.toMatchObject({
      name: "RetryableError",
      code: "empty_answer",
    });
  });

  test("calls no model when its worker may not move the run any more", async () => {
    const { context, modelCalls } = fakeContext({
      answers: ["x"],
      confirm: async () => Promise.reject(new Error("superseded")),
    });
    await expect(run(step({ type: "llm" }), context)).rejects.toThrow("superseded");
    expect(modelCalls).toEqual([]);
  });
});

describe("evaluator", () => {
  const fields = {
    type: "evaluator",
    evaluator_prompt: "Good?",
    route_map: { Approved: "s", stop: null },
    output_key: "verdict",
  };
  const choose = (route: string) => ({
    calls: [{ name: "choose_route", args: { route, reasoning: "why" } }],
  });

  test.each([
    ["a tool call", choose("Approved")],
    ["another letter case", choose(" approved ")],
    ["JSON in text", '```json\n{"route": "Approved", "reasoning": "why"}\n```'],
  ])("takes the route that the model names in %s", async (_, answer) => {
    const { context, modelCalls } = fakeContext({ answers: [answer] });
    const result = await run(step(fields), context);
    expect(result.route).toEqual({ target: "s" });
    expect(result.set).toEqual({
      verdict: "Approved",
      _routing_decision_s: "Approved",
      _routing_reasoning_s: "why",
    });
    expect(result.after).toMatchObject([
      { type: "routing_decision", decision: "Approved", target_step_id: "s", reasoning: "why" },
    ]);
    expect(modelCalls[0]).toMatchObject({ tools: ["choose_route"], toolChoice: "required" });
  });

  test("ends the run at a route without a target", async () => {
    expect((await run(step(fields), fakeContext({ answers: [choose("stop")] }).context)).route).toEqual({
      target: null,
    });
  });

  test("takes no route from an answer of more than a thousand values", async () => {
    const { context, modelCalls } = fakeContext({
      answers: ['{"route": "Approved"} '.repeat(1_001), choose("stop")],
    });
    expect((await run(step(fields), context)).route).toEqual({ target: null });
    expect(modelCalls).toHaveLength(2);
  });

  test("corrects the model, at most twice, when an answer names no route", async () => {
    const { context, modelCalls, committedTurns } = fakeContext({
      answers: ["hm", choose("nowhere"), choose("stop")],
    });
    const result = await run(step(fields), context);
    expect(result.set).toMatchObject({ verdict: "stop" });
    expect(modelCalls).toHaveLength(3);
    // Every tool call has a result: providers refuse a conversation with an open call.
    expect(modelCalls[2]?.messages.map((message) => message.role)).toEqual([
      "system",
      "user",
      "assistant",
      "user",
      "assistant",
      "tool",
    ]);
    expect(committedTurns.flatMap((turn) => turn.usage.map(({ call }) => call))).toEqual([
      "model.1",
      "model.2",
    ]);
    expect(result.usage.map(({ call }) => call)).toEqual(["model.3"]);
  });

  test("takes its default route after three answers without a route, or fails; it never takes the first route", async () => {
    const answers = ["a", "b", "c"];
    await expect(run(step(fields), fakeContext({ answers }).context)).rejects.toMatchObject({
      code: "no_route",
    });
    const result = await run(step({ ...fields, default_route: "stop" }), fakeContext({ answers }).context);
    expect(result.set).toMatchObject({ verdict: "stop" });
  });
});

describe("tool", () => {
  const fields = { type: "tool", forced_tool: "search", output_key: "out" };

  // Fails when a step that needs its tool counts as done, or asks a model for other arguments.
  test.each([{}, { prompt_template: "Search." }])(
    "with %j whose tool does not accept its headers fails with a code of its own",
    async (prompt) => {
      const refusing = () => {
        throw new TerminalError("tool_unauthorized", "x");
      };
      const answers = [{ calls: [{ name: "search", args: { query: "q" } }] }];
      const { context, modelCalls } = fakeContext({ tools: { search: refusing }, answers });
      const refused = run(step({ ...fields, ...prompt }), context);
      await expect(refused).rejects.toMatchObject({ name: "TerminalError", code: "tool_unauthorized" });
      expect(modelCalls.length).toBeLessThanOrEqual(1);
    },
  );

  // Fails when a model is asked for other arguments although nothing was wrong with the first ones.
  test.each([{}, { prompt_template: "Search." }])(
    "with %j whose call takes too long fails with an error that is retried, after one call",
    async (prompt) => {
      const slow = () => {
        throw new RetryableError("tool_timeout", "x");
      };
      const { context, toolCalls, modelCalls } = fakeContext({
        tools: { search: slow },
        answers: [{ calls: [{ name: "search", args: { query: "q" } }] }],
      });
      const timedOut = run(step({ ...fields, ...prompt }), context);
      await expect(timedOut).rejects.toMatchObject({ name: "RetryableError", code: "tool_timeout" });
      expect(toolCalls).toHaveLength(1);
      expect(modelCalls.length).toBeLessThanOrEqual(1);
    },
  );

  test("without a prompt calls its tool with its inputs, or with the message", async () => {
    const byKeys = fakeContext({ tools: { search: () => ({ hits: 1 }) }, state: { query: "q", other: 1 } });
    const result = await run(step({ ...fields, input_keys: ["query"] }), byKeys.context);
    expect(result).toMatchObject({ set: { out: { hits: 1 } }, effects: ["run_1:s:1:tool.1"], usage: [] });
    expect(byKeys.toolCalls).toEqual([
      { name: "search", args: { query: "q" }, effectKey: "run_1:s:1:tool.1" },
    ]);
    const byMessage = fakeContext({ tools: { search: () => "x" } });
    await run(step(fields), byMessage.context);
    expect(byMessage.toolCalls[0]?.args).toEqual({ query: "the message" });
  });

  test("with a prompt lets the model fill in the arguments, and commits them before the tool call", async () => {
    const args = { query: "q" };
    const { context, toolCalls, committedTurns } = fakeContext({
      answers: [{ calls: [{ name: "search", args }] }],
      tools: { search: () => "found" },
    });
    const result = await run(step({ ...fields, prompt_template: "Search." }), context);
    expect(result).toMatchObject({ set: { out: "found" }, usage: [] });
    expect(toolCalls).toMatchObject([{ args, effectKey: "run_1:s:1:tool.1" }]);
    expect(committedTurns).toHaveLength(1);

    const resumed = fakeContext({
      turns: committedTurns.map((turn) => turn.data),
      tools: { search: () => "found" },
    });
    await run(step({ ...fields, prompt_template: "Search." }), resumed.context);
    expect(resumed.toolCalls).toEqual(toolCalls);
    expect(resumed.modelCalls).toEqual([]);
  });

  test("gives the model the reason of a refusal, and fails when no call is accepted", async () => {
    const refuse = () => {
      throw new ToolRejection("query is too short");
    };
    const call = { calls: [{ name: "search", args: { query: "" } }] };
    const { context, modelCalls } = fakeContext({ answers: [call, call, call], tools: { search: refuse } });
    const running = run(step({ ...fields, prompt_template: "Search." }), context);
    await expect(running).rejects.toMatchObject({ code: "tool_rejected" });
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain("query is too short");
  });

  test("takes JSON in text as arguments when a model cannot call tools", async () => {
    const { context, toolCalls } = fakeContext({ answers: ['{"query": "q"}'], tools: { search: () => "x" } });
    await run(step({ ...fields, prompt_template: "Search." }), context);
    expect(toolCalls).toMatchObject([{ args: { query: "q" } }]);
  });

  test("without a prompt fails with the code of an answer that cannot be used", async () => {
    const search = (): never => {
      throw new ToolRejection("too large", { code: "answer_too_large" });
    };
    const running = run(step(fields), fakeContext({ tools: { search } }).context);
    await expect(running).rejects.toMatchObject({ name: "TerminalError", code: "answer_too_large" });
  });

  test("fails when its tool does not exist", async () => {
    await expect(run(step(fields), fakeContext({}).context)).rejects.toMatchObject({ code: "unknown_tool" });
  });
});

describe("the answers of persons in a prompt", () => {
  const asks = (i: number) => step({ id: `ask${i}`, type: "human", human_prompt: "?", output_key: `k${i}` });
  const promptOf = async (state: JsonObject, load?: () => Promise<Json>): Promise<string> => {
    const { context, modelCalls } = fakeContext({ state, answers: ["Done."] });
    const said = Object.keys(state).flatMap((key, i) => (key === "human_response" ? [] : [asks(i)]));
    const seen = { ...context, ...(load && { load }), way: () => ({ from: null, said }) };
    await run(step({ type: "llm", prompt_template: "Write." }), seen);
    return modelCalls[0]?.messages.at(-1)?.content ?? "";
  };

  // Fails when a step that does not name an answer reads it as text: a picture holds none, and the run would fail.
  test("are the names of files, whose text is not read", async () => {
    const file = {
      $ref: "acme/uploads/1",
      name: "cat.png",
      size: 3,
      content_type: "image/png",
      sha256: "",
      preview: "",
    };
    const prompt = await promptOf({ k0: file }, () =>
      Promise.reject(new TerminalError("file", "is no text")),
    );
    expect(prompt).toContain("## Answer of a person in Step\n{");
    expect(prompt).toContain('"name":"cat.png"');
  });

  // Fails when the list that a loop makes of the answers of its rounds is taken for another answer than the newest.
  test("are not repeated as the newest one where each has a key", async () => {
    const prompt = await promptOf({ k0: ["green", "white"], human_response: "white" });
    expect(prompt.match(/white/g)).toHaveLength(1);
  });

  test("are the newest 20", async () => {
    const state = Object.fromEntries(Array.from({ length: 25 }, (_, i) => [`k${i}`, `answer ${i}.`]));
    expect((await promptOf(state)).match(/answer \d+\./g)).toEqual(Object.values(state).slice(5));
  });
});
