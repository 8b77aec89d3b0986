import { describe, expect, test } from "vitest";
import {
  agentUnfilledWarnings,
  codeWarnings,
  doubtfulWarnings,
  parseNewAgent,
  parseNewOrchestration,
  uncheckedFields,
  unfilledWarnings,
  unreadWarnings,
  unsetInputs,
} from "../../../shared/contracts/definition/index.ts";
import type { Orchestration } from "../../../shared/contracts/definition/index.ts";
import { cpuMs } from "../../services/cpu-time.ts";

type Fields = { [key: string]: unknown };

/** A definition with the keys of state `topic` and `draft`, which a PUT accepts. */
function saved(step: Fields, fields: Fields = {}): Orchestration {
  const parsed = parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "a",
    state_schema: { topic: {}, max_n: { type: "number" } },
    steps: [
      { next_step_id: "write", ...step, id: "a" },
      { id: "write", type: "llm", prompt_template: "Write", output_key: "draft", next_step_id: null },
    ],
    ...fields,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  return parsed.definition;
}

describe("a text that looks like a placeholder and goes out as it is written", () => {
  test.each([
    ["{topic}", "{topic} goes out as it is written: write {state.topic}"],
    ["{ Topic }", "{ Topic } goes out as it is written: write {state.topic}"],
    ["{user_input}", "write {input} for the message of the run"],
    ["{message}", "write {input} for the message of the run"],
    ["{state-topic}", "write {state.topic}"],
    ["{state_topic}", "write {state.topic}"],
    ["{state:topic}", "write {state.topic}"],
    ["{state->topic}", "write {state.topic}"],
    ["{state/topic}", "write {state.topic}"],
    ["{state topic}", "write {state.topic}"],
    ["{stat.topic}", "write {state.topic}"],
    ["{stats.topc}", 'write {state.topc}: did you mean "topic"?'],
    ["{state..topic}", "write {state.topic}"],
    ["{state.}", "write {input}, or {state.key}"],
    ["{\n  state.topic\n}", "write {state.topic}"],
    ["{vars.topic}", "write {state.topic}"],
    ["{topic.name}", "write {state.topic.name}"],
    ["{write.output}", "write {state.draft}"],
    ["{steps.write.output}", "write {state.draft}"],
    ["{user.name}", "write {input}, or {state.key}"],
    ["{{state.topic}}", "{{state.topic}} leaves a brace on both sides of the value: write {state.topic}"],
    ["{{ input }}", "leaves a brace on both sides of the value: write { input }"],
    ["{{topic}}", "write {state.topic}"],
    ["${state.topic}", "${state.topic} leaves a $ before the value: write {state.topic}"],
    ["<state.topic>", "write {state.topic}"],
    ["[[state.topic]]", "write {state.topic}"],
    ["%state.topic%", "write {state.topic}"],
    ["$state.topic", "write {state.topic}"],
    ["{% if state.topic %}", "write {state.topic}"],
    ["<%= state.topic %>", "write {state.topic}"],
    ["{upper(state.topic)}", "write {state.topic}"],
    ["{input\n}", "write {input} for the message of the run"],
    ["{\n\n  Input\r\n}", "write {input} for the message of the run"],
    ["{$input}", "write {input} for the message of the run"],
    ["{$.input}", "write {input} for the message of the run"],
    ["{input?}", "write {input} for the message of the run"],
    ["{input | trim}", "write {input} for the message of the run"],
    ["{user input}", "write {input} for the message of the run"],
    ["{question}", "write {input} for the message of the run"],
    ["{state}", "write {state.key} for a value of state"],
    ["{ State\n}", "write {state.key} for a value of state"],
    ["{{state}}", "write {state.key} for a value of state"],
    ["{$.state.topic}", "write {state.topic}"],
    ["{@state.topic}", "write {state.topic}"],
    ["{.state.topic}", "write {state.topic}"],
    ["{=state.topic}", "write {state.topic}"],
    ["{'state.topic'}", "write {state.topic}"],
    ["{state?.topic}", "write {state.topic}"],
    ["{$.topic}", "write {state.topic}"],
    ["{$topic}", "write {state.topic}"],
    ["{topic!r}", "write {state.topic}"],
    ["{topic:.2f}", "write {state.topic}"],
    ["{topic[0]}", "write {state.topic}"],
    ["{{ topic | upper }}", "write {state.topic}"],
    ["{write}", "write {state.draft}"],
    ["｛state.topic｝", "write {state.topic}, with ASCII braces and dots"],
    ["{state．topic}", "write {state.topic}, with ASCII braces and dots"],
    ["｛ input }", "write {input}, with ASCII braces and dots"],
    [
      "{run_id}",
      "{run_id} goes out as it is written: the run's state has it when the request or a step puts it there",
    ],
    ["on {{ today }}", "{ today } goes out as it is written: the run's state has it"],
    ["{{#if topic}}yes{{/if}}", "{{#if topic}} goes out as it is written, as templates have no blocks"],
    [
      "{{#each rows}}{{this}}{{/each}}",
      "{{#each rows}} goes out as it is written, as templates have no blocks",
    ],
    ["{% for row in rows %}", "templates have no blocks"],
    ["<% if (rows) %>", "templates have no blocks"],
  ])("%s is saved with a warning that has the field, the place and the right spelling", (place, message) => {
    for (const [type, field] of Object.entries({ print: "print_content", llm: "prompt_template" })) {
      expect(unfilledWarnings(saved({ type, [field]: `About ${place}, please` }))).toEqual([
        { path: `steps[0].${field}`, message: expect.stringContaining(message) },
      ]);
    }
  });

  // Fails when a name that often means the message hides a key of the definition.
  test.each(["question", "message", "query"])("{%s} names the key of that name where there is one", (key) => {
    const definition = saved(
      { type: "print", print_content: `{${key}} and {user_query}` },
      { state_schema: { [key]: {} } },
    );
    expect(unfilledWarnings(definition)).toMatchObject([
      { message: expect.stringContaining(`write {state.${key}}`) },
      { message: expect.stringContaining("write {input}") },
    ]);
  });

  test.each([
    "{input} and {state.topic} and {state.topic.name}",
    '{"topic": {"b": 1}} {} {{x}} {other} {city}',
    '{"a": {state.topic}}',
    "{json: 1} {state: open} {topic: 3} {a, b} {1} {x y}",
    "{ state of the art } {state-of-the-art}",
    "function f() { topic(); return { a: b.c } }",
    "The stage.x, state.topic and <input>",
    "{int} {output} {print} {a || topic} {a: topic}",
    "{ ...state.topic } { state, input } { state: state } {#1} {-1} {...} {?} { topic(); }",
    '{"topic": "input", "state": [{"topic": [1]}], "a": "{\\"b\\": 1}"}',
    "const [a] = b; for (;;) { input(); state.topic(); } if (a < b && c > d) { e % 5 }",
    "é{é} 100% {%} <%> {{}} {{#}} ｛話題｝",
  ])("is not seen in JSON, code and prose: %s", (print_content) => {
    expect(unfilledWarnings(saved({ type: "print", print_content }))).toEqual([]);
  });

  test("gets a warning in fields in which no placeholder is filled in", () => {
    const form = { key: "k", label: "{state.topic}?", description: "Of {input}" };
    expect(unfilledWarnings(saved({ type: "human", human_prompt: "?", human_fields: [form] }))).toEqual([
      {
        path: "steps[0].human_fields[0].label",
        message: "{state.topic} goes out as it is written: write it in human_prompt",
      },
      {
        path: "steps[0].human_fields[0].description",
        message: "{input} goes out as it is written: write it in human_prompt",
      },
    ]);
    const routes = { route_map: { yes: "write" }, route_descriptions: { yes: "for {state.topic}" } };
    expect(unfilledWarnings(saved({ type: "evaluator", ...routes }))).toMatchObject([
      { path: "steps[0].route_descriptions.yes" },
    ]);
    const code = "result = 'On {state.topic}' + `${state.topic}`";
    expect(unfilledWarnings(saved({ type: "transform", transform_code: code }))).toEqual([
      {
        path: "steps[0].transform_code",
        message: "{state.topic} goes out as it is written: in code, a template literal has ${state.key}",
      },
    ]);
    const agent = parseNewAgent({ id: "a", name: "A", system_prompt: "About {state.topic} {json}" });
    expect(agent.ok && agentUnfilledWarnings(agent.definition)).toEqual([
      {
        path: "system_prompt",
        message: "{state.topic} goes out as it is written: write it in the prompt_template of a step",
      },
    ]);
  });

  test("is found in linear time, also in texts that consist of braces", () => {
    const texts = [
      "{a.".repeat(20_000),
      "{ ".repeat(30_000),
      `{${"a ".repeat(30_000)}}`,
      "{% ".repeat(20_000),
      "{{#a".repeat(15_000),
      "<%a ".repeat(15_000),
      `{${"$".repeat(99)}}`.repeat(600),
      `{a${"[".repeat(98)}}`.repeat(600),
      `{a${" ".repeat(90)}|}`.repeat(600),
    ];
    const startedAt = cpuMs();
    for (const print_content of texts) unfilledWarnings(saved({ type: "print", print_content }));
    expect(cpuMs() - startedAt).toBeLessThan(1_000);
  });
});

describe("a name in code that nothing defines", () => {
  test.each([
    ["stat.topic == 'x'", "line 1, column 1: nothing defines stat: did you mean state?"],
    ["state.a and sate.topic", "line 1, column 13: nothing defines sate: did you mean state?"],
    ["topic == 'x'", "line 1, column 1: nothing defines topic: did you mean state.topic?"],
    ["1 > max_m", "line 1, column 5: nothing defines max_m: did you mean state.max_n?"],
    ["input != ''", "did you mean state.user_input?"],
    ["state.n > 3 || Mth.min(1)", "line 1, column 16: nothing defines Mth: did you mean Math?"],
    ["new Date() > 3", "nothing defines Date: code reads state and the built-ins of JavaScript"],
    ["fetch('https://example.com/')", "nothing defines fetch"],
    ["max(state.topic) > 3", "nothing defines max: did you mean Math.max?"],
    ["any(state.topic)", "nothing defines any: did you mean list.some?"],
    ["bool(state.topic)", "nothing defines bool: did you mean Boolean?"],
    ["print(state.topic)", "nothing defines print: code reads state"],
    ["[1].some((item) => itme > 1)", "line 1, column 20: nothing defines itme: did you mean item?"],
  ])("gets a warning with line, column and the nearest name: %s", (code, message) => {
    const targets = { if_true_step_id: "write", if_false_step_id: "write" };
    for (const step of [
      { type: "if_else", if_condition: code, ...targets },
      { type: "switch", switch_expression: code, switch_default_step_id: "write" },
    ]) {
      expect(codeWarnings(saved(step))).toEqual([
        {
          path: expect.stringMatching(/^steps\[0\]\.(?:if_condition|switch_expression)$/),
          message: expect.stringContaining(message),
        },
      ]);
    }
  });

  test("gets a warning in a transform too, once for each name", () => {
    const transform_code =
      "const rows = state.topic\n  .map((row) => rwo.id)\nresult = rows.concat(rwo, itmes)";
    expect(codeWarnings(saved({ type: "transform", transform_code }))).toEqual([
      {
        path: "steps[0].transform_code",
        message: "line 2, column 17: nothing defines rwo: did you mean row?",
      },
      {
        path: "steps[0].transform_code",
        message: expect.stringMatching(/^line 3, column 27: nothing defines itmes/),
      },
    ]);
  });

  test.each([
    "result = [1].map(function f(n) { return n > 0 ? arguments.length : f(n - 1) })",
    "const { a, b: [c = 1], ...rest } = state; let d; class K extends Object { m() { return a } } result = [a, c, rest, d, new K().m()]",
    "total = 0; for (const x of [1]) total += x; for (key in {}) total += key; result = total",
    "try { gone() } catch (error) { result = error.message }",
    "result = typeof gone === 'undefined' ? { gone: 1, key: 2 }.gone : 0",
    "outer: for (;;) { break outer } result = 1",
    "this.x = 1; result = x",
    "globalThis.y = 1; result = y",
    "result = len(state.topic) + str(1) + int('2') + float('3'); result = True",
    "result = Object.entries(state).map(([key, value]) => ({ key, value, [key]: 1 }))",
    "const f = ({ a } = {}, ...more) => a ?? more; result = f()",
    "result = new Map([[1, new Set()]]).size + parseInt('1') + Math.max(1, NaN, Infinity) + (undefined ?? 1)",
  ])("is none that the code or the sandbox defines, or that may be absent: %s", (transform_code) => {
    expect(codeWarnings(saved({ type: "transform", transform_code }))).toEqual([]);
  });
});

describe("an integer in code that is read with other digits", () => {
  test.each([
    [
      "result = 12345678901234567890",
      "line 1, column 10: 12345678901234567890 is read as 12345678901234567000",
    ],
    [
      "result = { id:\n  -9007199254740993 }",
      "line 2, column 4: 9007199254740993 is read as 9007199254740992",
    ],
    ["result = 1e400", "1e400 is read as Infinity"],
    ["result = 0x1fffffffffffff1", "0x1fffffffffffff1 is read as"],
  ])("gets a warning with line and column: %s", (transform_code, message) => {
    expect(codeWarnings(saved({ type: "transform", transform_code }))).toEqual([
      { path: "steps[0].transform_code", message: expect.stringContaining(message) },
    ]);
  });

  test.each([
    "0.1",
    "0.30000000000000004",
    "9007199254740991",
    "1e22",
    "12345678901234567890n",
    "0x10",
    "'12345678901234567890'",
  ])("is none of %s", (literal) => {
    const code = `result = String(${literal})`;
    expect(codeWarnings(saved({ type: "transform", transform_code: code }))).toEqual([]);
  });
});

const LLM = { type: "llm", prompt_template: "x" };
const LOOP = { type: "loop", loop_step_ids: ["write"], next_step_id: null };

// Fails when a step of type if_else may have a next step or a key that it never uses, without a warning.
test.each<[Fields, unknown]>([
  [{ type: "if_else", if_condition: "true", next_step_id: "write" }, ["steps[0].if_true_step_id"]],
  [{ type: "if_else", if_condition: "true", if_true_step_id: "write" }, []],
  [{ type: "switch", switch_expression: "state.topic", next_step_id: "write" }, ["steps[0].switch_cases"]],
  [{ type: "switch", switch_expression: "state.topic", switch_default_step_id: "write" }, []],
  [
    { type: "switch", switch_expression: "state.topic", switch_default_step_id: "write", switch_cases: {} },
    [],
  ],
  [{ type: "if_else", if_condition: "true", if_true_step_id: "write", if_false_step_id: null }, []],
  [{ type: "switch", switch_expression: "1", switch_cases: { a: "write" } }, []],
  [{ ...LOOP, for_each: "state.topic", loop_count: 7 }, ["steps[0].loop_count"]],
  [{ ...LOOP, for_each: "state.topic" }, []],
  [{ ...LOOP, loop_count: 7 }, []],
  [{ ...LOOP, retry: { attempts: 5 } }, ["steps[0].retry"]],
  [{ ...LOOP, retry: { attempts: 3 } }, []],
  [{ ...LLM, retry: { attempts: 5 } }, []],
  [{ ...LLM, cache_response_ttl_seconds: 60 }, ["steps[0].cache_response_ttl_seconds"]],
  [{ ...LLM, cache_response_ttl_seconds: 60, cache_responses_enabled: true }, []],
])("a field without effect gets a warning: %j", (step, paths) => {
  expect(unreadWarnings(saved(step)).map(({ path }) => path)).toEqual(paths);
});

// Fails when an author can give the message of a run a default that no run has.
test("a default of the key that is the message of the run gets a warning", () => {
  const state_schema = {
    user_input: { default: "hello" },
    user_query: { default: "" },
    topic: { default: "x" },
  };
  const orchestration = saved({ type: "print", print_content: "x" }, { state_schema });
  expect(unreadWarnings(orchestration).map(({ path }) => path)).toEqual(["state_schema.user_input.default"]);
});

// Fails when a text or an order that follows a locale elsewhere is another one here, without a warning.
test.each([
  [
    "result = (1.5).toLocaleString('de-DE')",
    ["line 1, column 16: toLocaleString() gives what toString() gives"],
  ],
  [
    "result = state.topic.sort((a, b) => a?.localeCompare(b))",
    ["localeCompare() gives the order of code points"],
  ],
  ["result = (1.5).toFixed(2)", []],
])("a call that follows a locale elsewhere gets a warning: %s", (transform_code, texts) => {
  const found = codeWarnings(saved({ type: "transform", transform_code }));
  expect(found.map(({ message }) => message)).toEqual(texts.map((text) => expect.stringContaining(text)));
});

const NO_ROUTE = "no value has a target: a run that comes here fails with no_route";
const GOES_ON = "no value has a target: a run goes on to the step after this one, whatever the value is";

// Fails when a warning says that a run fails where the engine takes it to the next step.
test.each<[Fields, string]>([
  [{ type: "if_else", if_condition: "true" }, NO_ROUTE],
  [{ type: "if_else", if_condition: "true", next_step_id: null }, GOES_ON],
  [{ type: "switch", switch_expression: "1" }, NO_ROUTE],
  [{ type: "switch", switch_expression: "1", next_step_id: "b" }, GOES_ON],
])("a decision without targets gets a warning that says where a run goes: %j", (step, message) => {
  const last = { id: "b", type: "print", print_content: "x" };
  const steps = [{ ...step, id: "a" }, ...(step["next_step_id"] === "b" ? [last] : [])];
  expect(unreadWarnings(saved({}, { steps }))).toMatchObject([{ message }]);
});

test("a decision without targets in a list goes on to the next step of the list", () => {
  const decision = { type: "switch", switch_expression: "1", id: "decide" };
  const steps = [
    { id: "each", type: "loop", loop_step_ids: ["decide", "say"] },
    decision,
    { id: "say", type: "print", print_content: "x" },
  ];
  const parsed = parseNewOrchestration({ id: "o", name: "O", entry_step_id: "each", steps });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  expect(unreadWarnings(parsed.definition)).toEqual([{ path: "steps[1].switch_cases", message: GOES_ON }]);
});

test("an end step that goes on, or sets a key, and options that are not checked get a warning", () => {
  const parsed = parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "ask",
    steps: [
      {
        id: "ask",
        type: "human",
        human_prompt: "?",
        next_step_id: "end",
        human_fields: [
          { key: "a", options: ["x"] },
          { key: "b", type: "select", options: ["x"] },
        ],
      },
      { id: "end", type: "end", next_step_id: "ask", output_key: "z" },
    ],
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
  expect(unreadWarnings(parsed.definition)).toEqual([
    { path: "steps[1].next_step_id", message: "is never followed: the run ends at a step of type end" },
    { path: "steps[1].output_key", message: "is never set: a step of type end has no output" },
  ]);
  expect(uncheckedFields(parsed.definition)).toEqual([
    { path: "steps[0].human_fields[0].options", message: "are not checked for type text: write select" },
  ]);
});

test.each([
  [{ "": "write" }, "route_map.", "has an empty label"],
  [{ "  ": "write" }, "route_map.  ", "has an empty label"],
  [{ " yes": "write" }, "route_map. yes", 'the label " yes" begins or ends with a space'],
  [{ Yes: "write", yes: null }, "route_map.yes", 'differs from the label "Yes" in letter case only'],
])("a route that a model cannot choose for sure is refused: %j", (route_map, path, message) => {
  const parsed = parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "a",
    steps: [
      { id: "a", type: "evaluator", route_map },
      { id: "write", type: "end" },
    ],
  });
  const errors = parsed.ok ? [] : parsed.errors;
  expect(errors).toContainEqual({ path: `steps[0].${path}`, message: expect.stringContaining(message) });
});

describe("what is valid and most often a mistake", () => {
  const paths = (step: Fields, fields: Fields = {}) =>
    doubtfulWarnings(saved(step, fields)).map(({ path }) => path);

  // Fails when an author does not learn that a branch is never taken.
  test.each(["true", "True", "1 == 1", "not False", "[]", "null", "state"])(
    "a condition that is the same in every run gets a warning: %s",
    (if_condition) => {
      const ends = { if_true_step_id: "write", if_false_step_id: null };
      expect(paths({ type: "if_else", if_condition, ...ends })).toEqual(["steps[0].if_condition"]);
      expect(paths({ type: "switch", switch_expression: if_condition, switch_cases: { a: null } })).toEqual([
        "steps[0].switch_expression",
      ]);
    },
  );

  test.each(["state.topic", "not state.topic", "this.state.topic", "len(state.topic) > 0"])(
    "a condition that reads the run gets none: %s",
    (if_condition) => {
      expect(paths({ type: "if_else", if_condition, if_true_step_id: null })).toEqual([]);
    },
  );

  test("cases that no value may mean get a warning", () => {
    const cases = { refund: null, "refund ": null, Refund: null, "": null, " ": null };
    const step = { type: "switch", switch_expression: "state.topic", switch_cases: cases };
    expect(paths(step)).toEqual(["steps[0].switch_cases.refund ", "steps[0].switch_cases.Refund"]);
  });

  // Fails when an author does not learn that `str(True)` is "True": the run would take the default in silence.
  test("cases that the text of a boolean or null never is get a warning", () => {
    const casesOf = (switch_expression: string) => {
      const switch_cases = { true: null, False: null, null: null, other: null };
      return paths({ type: "switch", switch_expression, switch_cases, switch_default_step_id: "write" });
    };
    expect(casesOf("str(state.topic)")).toEqual(["steps[0].switch_cases.true", "steps[0].switch_cases.null"]);
    expect(casesOf("String(state.topic)")).toEqual(["steps[0].switch_cases.False"]);
    expect(casesOf("state.topic")).toEqual([]);
  });

  test("ids that differ in letter case only get a warning", () => {
    const steps = [
      { id: "a", type: "print", print_content: "1", next_step_id: "A" },
      { id: "A", type: "print", print_content: "2" },
    ];
    expect(paths({ type: "end" }, { steps })).toEqual(["steps[1].id"]);
  });
});

test("a placeholder in a field that takes none gets a warning: persons, options, defaults, cases, forms of answers", () => {
  const human = {
    type: "human",
    human_prompt: "?",
    approvers: ["{state.topic}"],
    escalate_to: [{ after_seconds: 5, approvers: ["ann", "{input}"] }],
    human_fields: [
      { key: "k", type: "select", options: ["{state.topic}"] },
      { key: "l", default: "{input}" },
    ],
  };
  const pathsOf = (step: Fields, fields: Fields = {}) =>
    unfilledWarnings(saved(step, fields)).map(({ path }) => path);
  expect(pathsOf(human)).toEqual([
    "steps[0].human_fields[0].options",
    "steps[0].human_fields[1].default",
    "steps[0].approvers",
    "steps[0].escalate_to[0].approvers",
  ]);
  const cases = { switch_expression: "state.topic", switch_cases: { "{state.topic}": null } };
  expect(pathsOf({ type: "switch", ...cases })).toEqual(["steps[0].switch_cases.{state.topic}"]);
  const output_schema = {
    type: "object",
    properties: { a: { type: "string", description: "{state.topic}" } },
  };
  expect(pathsOf({ type: "llm", prompt_template: "x", output_schema })).toEqual(["steps[0].output_schema"]);
  const state_schema = { topic: { default: "{input}" } };
  expect(pathsOf({ type: "print", print_content: "x" }, { state_schema })).toEqual([
    "state_schema.topic.default",
  ]);
});

// Fails when a prompt goes out without the value of a misspelt key, and the save had no warning.
test.each([
  [["topik"], ['"topik" is set by no step and not in state_schema: did you mean "topic"?']],
  [["Draft"], ['"Draft" is set by no step and not in state_schema: did you mean "draft"?']],
  [["maxn"], ['did you mean "max_n"?']],
  // A request may bring these.
  [["topic", "draft", "user_input", "feedback", "topic_2", "topic2", "dr", "raft_of_all"], []],
])("the key of an input that is almost a key of state has a warning: %j", (input_keys, messages) => {
  for (const type of [{ type: "llm" }, { type: "evaluator", route_map: { yes: null } }]) {
    const found = unsetInputs(saved({ ...type, prompt_template: "x", input_keys })).map(
      ({ message }) => message,
    );
    expect(found).toEqual(messages.map((text) => expect.stringContaining(text)));
  }
});

// Fails when each of these inputs is compared with each key that is set.
test("inputs that nothing sets cost as little as a few of them, however many there are", () => {
  const names = (prefix: string, count: number): string[] =>
    Array.from({ length: count }, (_, i) => `${prefix}_of_a_customer_by_number_${i}`);
  const state_schema = Object.fromEntries(names("amounts", 200).map((name) => [name, {}]));
  const inputs = names("telephone", 1_500);
  const steps = Array.from({ length: 15 }, (_, i) => ({
    id: `s${i}`,
    type: "llm",
    prompt_template: "x",
    input_keys: inputs.slice(i * 100, (i + 1) * 100),
    next_step_id: i < 14 ? `s${i + 1}` : null,
  }));
  const definition = saved({}, { entry_step_id: "s0", state_schema, steps });
  const startedAt = cpuMs();
  expect(unsetInputs(definition)).toEqual([]);
  expect(cpuMs() - startedAt).toBeLessThan(1_000);
});
