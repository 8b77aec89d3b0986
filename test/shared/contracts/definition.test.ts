import { describe, expect, test } from "vitest";
import {
  parseAgent,
  parseNewOrchestration,
  parseOrchestration,
  parseTool,
  laterFields,
  unknownFields,
  unreadTurns,
} from "../../../shared/contracts/definition/index.ts";
import { AgentDocument } from "../../../shared/contracts/definition/agent.ts";
import { fieldClasses } from "../../../shared/contracts/definition/field-classes.ts";
import { Escalation, HumanFieldRecord } from "../../../shared/contracts/definition/human.ts";
import { McpServerDocument, OAuthClient } from "../../../shared/contracts/definition/mcp-server.ts";
import { OrchestrationDocument, StateField } from "../../../shared/contracts/definition/orchestration.ts";
import { Retry, stepShapes } from "../../../shared/contracts/definition/step.ts";
import { Reconcile, toolShapes } from "../../../shared/contracts/definition/tool.ts";
import { cpuMs } from "../../services/cpu-time.ts";

type Fields = { [key: string]: unknown };

const print = (id: string, fields: Fields = {}): Fields => ({
  id,
  type: "print",
  print_content: "x",
  ...fields,
});
const document = (steps: Fields[], fields: Fields = {}): Fields => ({
  id: "orch",
  name: "Test",
  entry_step_id: steps[0]?.["id"],
  steps,
  ...fields,
});
const evaluator = (id: string, route_map: Fields, fields: Fields = {}): Fields => ({
  id,
  type: "evaluator",
  route_map,
  ...fields,
});

/** The flat record that existing definitions hold for every step, whatever its type. */
const flat = (id: string, type: string, fields: Fields = {}): Fields => ({
  id,
  name: id,
  type,
  agent_id: null,
  prompt_template: null,
  model: "",
  route_map: null,
  route_descriptions: null,
  evaluator_prompt: null,
  parallel_branches: null,
  merge_strategy: null,
  loop_count: null,
  loop_step_ids: null,
  transform_code: null,
  print_content: null,
  if_condition: null,
  if_true_step_id: null,
  if_false_step_id: null,
  switch_expression: null,
  switch_cases: null,
  switch_default_step_id: "",
  human_prompt: null,
  human_fields: null,
  input_keys: [],
  output_key: null,
  forced_tool: null,
  max_turns: 15,
  timeout_seconds: null,
  allowed_tools: null,
  next_step_id: "",
  max_iterations: 3,
  position_x: 10.5,
  ...fields,
});

function errorsOf(json: unknown): { code: string; errors: { path: string; message: string }[] } {
  const parsed = parseOrchestration(json);
  return parsed.ok ? { code: "ok", errors: [] } : parsed;
}

describe("an orchestration", () => {
  test("gets its defaults; null and an empty text mean the same as an absent field", () => {
    const parsed = parseOrchestration(
      document([flat("a", "print", { print_content: "hi" })], { avatar: null }),
    );
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    expect(parsed.definition).toMatchObject({
      max_total_turns: 100,
      timeout_minutes: 30,
      max_total_cost_usd: null,
    });
    expect(parsed.definition.steps[0]).toMatchObject({
      next_step_id: null,
      max_iterations: 3,
      timeout_seconds: 300,
      retry: { attempts: 3, base_seconds: 1, max_seconds: 60 },
      input_keys: [],
    });
  });

  test.each([
    ["agent", { agent_id: "agent_1" }],
    ["llm", {}],
    ["tool", { forced_tool: "search" }],
    ["evaluator", { route_map: { done: null } }],
    ["transform", { transform_code: "result = 1" }],
    ["extract_json", { input_keys: ["k"] }],
    ["if_else", { if_condition: "state.x" }],
    ["switch", { switch_expression: "state.x" }],
    ["print", { print_content: "hi" }],
    [
      "human",
      { human_prompt: "ok?", human_fields: [{ name: "a" }, { key: "b", type: "select", options: ["x"] }] },
    ],
    ["end", {}],
  ])("accepts the flat record of a step of type %s", (type, fields) => {
    expect(errorsOf(document([flat("a", type, fields)])).errors).toEqual([]);
  });

  test.each([
    ["parallel", { parallel_branches: [["c"], ["d", "e"]] }],
    ["merge", { input_keys: ["k"] }],
    ["loop", { loop_step_ids: ["c", "d", "e"] }],
  ])("accepts the flat record of a step of type %s, which leads to others", (type, fields) => {
    const inside = type === "merge" ? [] : [print("c"), print("d"), print("e")];
    const steps = [flat("a", type, { ...fields, next_step_id: "b" }), print("b"), ...inside];
    expect(errorsOf(document(steps)).errors).toEqual([]);
  });

  test.each<[string, Fields, string]>([
    ["no steps", document([], { entry_step_id: "a" }), "steps"],
    ["a type that does not exist", document([{ id: "a", type: "magic" }]), "steps[0].type"],
    ["no entry step", document([print("a")], { entry_step_id: "" }), "entry_step_id"],
    ["an unknown entry step", document([print("a")], { entry_step_id: "b" }), "entry_step_id"],
    ["two steps of one id", document([print("a", { next_step_id: "a" }), print("a")]), "steps[1].id"],
    ["an unknown next step", document([print("a", { next_step_id: "b" })]), "steps[0].next_step_id"],
    ["an unknown route", document([evaluator("a", { approved: "b" })]), "steps[0].route_map.approved"],
    [
      "an unknown case",
      document([{ id: "a", type: "switch", switch_expression: "1", switch_cases: { one: "b" } }]),
      "steps[0].switch_cases.one",
    ],
    [
      "an unknown branch",
      document([{ id: "a", type: "if_else", if_condition: "1", if_true_step_id: "b" }]),
      "steps[0].if_true_step_id",
    ],
    ["a step that cannot be reached", document([print("a"), print("b")]), "steps[1]"],
    ["a step after an end", document([{ id: "a", type: "end", next_step_id: "b" }, print("b")]), "steps[1]"],
    ["an agent step without agent", document([{ id: "a", type: "agent" }]), "steps[0].agent_id"],
    ["a tool step without tool", document([{ id: "a", type: "tool" }]), "steps[0].forced_tool"],
    ["an evaluator without routes", document([evaluator("a", {})]), "steps[0].route_map"],
    [
      "a default route that route_map does not have",
      document([evaluator("a", { x: null }, { default_route: "y" })]),
      "steps[0].default_route",
    ],
    [
      "a transform without code",
      document([{ id: "a", type: "transform", transform_code: " " }]),
      "steps[0].transform_code",
    ],
    ["extract_json without a key", document([{ id: "a", type: "extract_json" }]), "steps[0].input_keys"],
    ["a reserved output key", document([print("a", { output_key: "user_input" })]), "steps[0].output_key"],
    [
      "a question whose answer would replace the message of the run",
      document([{ id: "a", type: "human", human_prompt: "Go on?", output_key: "user_query" }]),
      "steps[0].output_key",
    ],
    ["an output key of the engine", document([print("a", { output_key: "_x" })]), "steps[0].output_key"],
    [
      "a template that reads a key which is never set",
      document([print("a", { print_content: "{state.gone}" })]),
      "steps[0].print_content",
    ],
    ["too many steps", document(Array.from({ length: 201 }, (_, i) => print(`s${i}`))), "steps"],
    [
      "a prompt that is too long",
      document([print("a", { print_content: "x".repeat(65_537) })]),
      "steps[0].print_content",
    ],
    [
      "a retry whose base exceeds its maximum",
      document([print("a", { retry: { base_seconds: 9, max_seconds: 1 } })]),
      "steps[0].retry",
    ],
    ["a wrong number", document([print("a", { timeout_seconds: "soon" })]), "steps[0].timeout_seconds"],
  ])("with %s is refused; the error has the path to it", (_, json, path) => {
    const result = errorsOf(json);
    expect(result.code).toBe("invalid");
    expect(result.errors.map((error) => error.path)).toContain(path);
  });

  // Fails when a save refuses what the README shows: the files of a run, the body of a trigger and the tick of a schedule.
  test("may read in templates what a run begins with", () => {
    const print_content =
      "{state.attachments.0} {state.trigger.head_commit.message} {state.schedule.tick_at}";
    expect(parseOrchestration(document([print("a", { print_content })]))).toMatchObject({ ok: true });
  });

  test("has error texts that say what is wrong and what would be right", () => {
    const steps = [
      print("a", { next_step_id: "gone", output_key: "_x" }),
      print("b", { print_content: "{state.unset}" }),
    ];
    expect(errorsOf(document(steps)).errors).toEqual([
      {
        path: "steps[0].next_step_id",
        message: 'there is no step "gone": it must be the id of one of the steps',
      },
      {
        path: "steps[0].output_key",
        message:
          '"_x" is reserved: use a key that does not begin with _ and is none of user_input, user_query, human_response',
      },
      {
        path: "steps[1].print_content",
        message:
          '{state.unset} is never set: add "unset" to state_schema, or to a step\'s output_key or input_keys',
      },
      {
        path: "steps[1]",
        message: '"b" cannot be reached from the entry step: lead to it, or remove it',
      },
    ]);
  });

  test("that is not an object is refused without a throw", () => {
    for (const json of [null, 3, "x", [], undefined]) expect(errorsOf(json).code).toBe("invalid");
  });

  test("may read in templates what schema, outputs, inputs and routing set; other braces are text", () => {
    const content =
      "{input} {state.user_input} {state.s.deep.er} {state.out} {state.given} {state._routing_decision_e} {json: 1} {state.}";
    const steps = [
      evaluator("e", { go: "p" }, { output_key: "out", input_keys: ["given"] }),
      print("p", { print_content: content }),
    ];
    expect(errorsOf(document(steps, { state_schema: { s: { type: "dict" } } })).errors).toEqual([]);
  });
});

describe("a cycle", () => {
  const cycle = (a: Fields, b: Fields): Fields =>
    document([print("a", { next_step_id: "b", ...a }), print("b", { next_step_id: "a", ...b })]);

  test("is ended by the default limit, or by one step's limit when skipping that step leads out of the cycle", () => {
    expect(errorsOf(cycle({}, {})).errors).toEqual([]);
    const steps = [
      print("a", { next_step_id: "e", max_iterations: 0 }),
      evaluator("e", { again: "a", done: null }, { max_iterations: 2 }),
    ];
    expect(errorsOf(document(steps)).errors).toEqual([]);
  });

  test("without any limit is refused, with an error at each of its steps", () => {
    const result = errorsOf(cycle({ max_iterations: 0 }, { max_iterations: 0 }));
    expect(result.errors.map((error) => error.path)).toEqual([
      "steps[0].max_iterations",
      "steps[1].max_iterations",
    ]);
  });

  test("is refused when skipping its only step with a limit leads back into it", () => {
    const result = errorsOf(cycle({ max_iterations: 0 }, { max_iterations: 3 }));
    expect(result.errors.map((error) => error.path)).toEqual(["steps[0].max_iterations"]);
  });
});

describe("a definition that is saved", () => {
  const withNext = (id: string, next_step_id: string) => print(id, { next_step_id });
  const branch = { id: "b", type: "if_else", if_condition: "state.user_input", if_true_step_id: "a" };

  // Fails when a definition is saved whose runs can only be ended by a limit.
  test("with steps from which no path leads to an end is refused, at each of them", () => {
    const round = parseNewOrchestration(document([withNext("a", "b"), withNext("b", "a")]));
    expect(round).toMatchObject({
      ok: false,
      errors: [
        { path: "steps[0]", message: 'no path leads from "a" to an end of the run' },
        { path: "steps[1]" },
      ],
    });
    const endlessCycle = { ...branch, if_false_step_id: "a" };
    expect(parseNewOrchestration(document([withNext("a", "b"), endlessCycle]))).toMatchObject({ ok: false });
  });

  test.each<[string, Fields]>([
    ["a null target", { if_false_step_id: null }],
    ["another step", { if_false_step_id: "c" }],
    ["the step after its limit", { if_false_step_id: "a", next_step_id: "c" }],
  ])("with a loop that %s can end is accepted", (_what, fields) => {
    const last = Object.values(fields).includes("c") ? [print("c")] : [];
    expect(
      parseNewOrchestration(document([withNext("a", "b"), { ...branch, ...fields }, ...last])),
    ).toMatchObject({
      ok: true,
    });
  });

  // Fails when two fields of a form share one value of the answer.
  test("with a form that has a key twice is refused", () => {
    const human_fields = [{ key: "k" }, { key: "l" }, { name: "k", type: "number" }];
    const step = { id: "a", type: "human", human_prompt: "x", human_fields };
    expect(parseNewOrchestration(document([step]))).toMatchObject({
      ok: false,
      errors: [{ path: "steps[0].human_fields[2].key", message: '"k" is the key of another field' }],
    });
  });

  test.each<[Fields, string, string]>([
    [{ type: "Print" }, "steps[0].type", 'did you mean "print"?'],
    [{ type: undefined }, "steps[0].type", "is required: one of agent, llm"],
    [{ type: "agent" }, "steps[0].agent_id", "is required"],
    [{ timeout_seconds: "300" }, "steps[0].timeout_seconds", "must be a number"],
    [{ timeout_seconds: 0 }, "steps[0].timeout_seconds", "must be at least 1"],
    [{ input_keys: "a" }, "steps[0].input_keys", "must be a list"],
    [{ print_content: 5 }, "steps[0].print_content", "must be text"],
    [{ print_content: { a: 1 } }, "steps[0].print_content", "must be text"],
    [{ type: "transform", transform_code: ["x"] }, "steps[0].transform_code", "must be text"],
    [{ type: "if_else", if_condition: true }, "steps[0].if_condition", "must be text"],
    [{ type: "switch", switch_expression: 1 }, "steps[0].switch_expression", "must be text"],
    [{ print_content: null }, "steps[0].print_content", "is required for a print step"],
    [{ print_content: undefined }, "steps[0].print_content", "is required for a print step"],
  ])("is refused with an error that says what would be right: %j", (fields, path, text) => {
    expect(parseNewOrchestration(document([print("a", fields)]))).toMatchObject({
      ok: false,
      errors: [{ path, message: expect.stringContaining(text) }],
    });
  });

  test.each([
    [{ id: "l", type: "loop", loop_step_ids: [] }, "loop_step_ids", "must name at least one step to repeat"],
    [
      { id: "p", type: "parallel", parallel_branches: [] },
      "parallel_branches",
      "must have at least one branch",
    ],
    [{ id: "p", type: "parallel", parallel_branches: [[]] }, "parallel_branches[0]", "must not be empty"],
  ])("without a step to repeat or to branch to has one error: %j", (step, field, message) => {
    expect(errorsOf(document([step])).errors).toEqual([{ path: `steps[0].${field}`, message }]);
  });

  test("whose state_schema is a JSON Schema is refused with an example of a state_schema", () => {
    const state_schema = { type: "object", properties: { team: { type: "string" } } };
    expect(parseNewOrchestration(document([print("a")], { state_schema }))).toMatchObject({
      code: "invalid",
      errors: [{ path: "state_schema", message: expect.stringContaining('{"team": {"type": "string"}}') }],
    });
    const keys = { type: { type: "string" }, properties: { type: "object" } };
    expect(parseNewOrchestration(document([print("a")], { state_schema: keys }))).toMatchObject({ ok: true });
  });

  // Fails when the error for an unknown text field suggests a position or a name.
  test("gets no suggestion for a field without a similar name", () => {
    const suggestionFor = (field: string) =>
      unknownFields("orchestrations", document([print("a", { [field]: "x" })]))[0]?.message;
    expect(suggestionFor("description")).toBe("is not a field of a step");
    expect(suggestionFor("prompt")).toBe('is not a field of a step: did you mean "prompt_template"?');
    expect(suggestionFor("lane")).toBe("is not a field of a step");
    expect(suggestionFor("content")).toBe('is not a field of a step: did you mean "print_content"?');
    expect(suggestionFor("branches")).toBe('is not a field of a step: did you mean "parallel_branches"?');
  });
});

describe("agents and tools", () => {
  test("an agent gets its defaults", () => {
    const parsed = parseAgent({ id: "a", name: "A", model: "", extra: 1 });
    expect(parsed).toMatchObject({
      ok: true,
      definition: { type: "conversational", tools: [], model: null },
    });
  });

  test("an orchestrator names what it runs, and no other agent does", () => {
    const agent = { id: "a", name: "A", type: "orchestrator", orchestration_id: "o", tools: ["all"] };
    expect(parseAgent(agent)).toMatchObject({ ok: true, definition: { orchestration_id: "o" } });
    const wrong: [Fields, string][] = [
      [{ type: "orchestrator" }, "orchestration_id"],
      [{ type: "code", orchestration_id: "o" }, "orchestration_id"],
      [{ type: "code", orchestration_ids: ["o"] }, "orchestration_ids"],
    ];
    for (const [fields, path] of wrong) {
      const parsed = parseAgent({ id: "a", name: "A", ...fields });
      expect(parsed).toMatchObject({ ok: false, code: "invalid", errors: [{ path }] });
    }
  });

  test.each([
    [{ id: "a", name: "A", type: "delegate" }, "delegate_agent_ids"],
    [{ id: "a", name: "A", tools: ["x", "all"] }, "tools[1]"],
  ])("an agent that needs an unbuilt feature is refused as not available yet: %j", (json, path) => {
    expect(parseAgent(json)).toMatchObject({ ok: false, code: "not_yet", errors: [{ path }] });
  });

  test("an HTTP tool gets its defaults; a Python tool is not available yet", () => {
    expect(parseTool({ name: "t", tool_type: "http", url: "https://example.com/x" })).toMatchObject({
      ok: true,
      definition: { method: "GET", headers: {} },
    });
    expect(parseTool({ name: "t", tool_type: "python", code: "x" })).toMatchObject({
      ok: false,
      code: "not_yet",
    });
  });

  test.each(["ftp://x/", "https://{host}/", "https://user@host/", "nonsense"])(
    "a tool with the URL %s is refused",
    (url) => {
      expect(parseTool({ name: "t", tool_type: "http", url })).toMatchObject({ ok: false, code: "invalid" });
    },
  );
});

describe("a field that nothing reads", () => {
  test.each<["orchestrations" | "agents" | "tools", Fields, string, string]>([
    ["orchestrations", document([print("a", { retires: { attempts: 1 } })]), "steps[0].retires", "retry"],
    [
      "orchestrations",
      document([print("a", { retry: { attemps: 1 } })]),
      "steps[0].retry.attemps",
      "attempts",
    ],
    [
      "orchestrations",
      document([print("a", { timeout_secs: 5 })]),
      "steps[0].timeout_secs",
      "timeout_seconds",
    ],
    [
      "orchestrations",
      document([print("a", { maxIterations: 5 })]),
      "steps[0].maxIterations",
      "max_iterations",
    ],
    ["orchestrations", document([print("a")], { max_cost_usd: 1 }), "max_cost_usd", "max_total_cost_usd"],
    [
      "orchestrations",
      document([print("a")], { state_schema: { k: { typ: "string" } } }),
      "state_schema.k.typ",
      "type",
    ],
    [
      "orchestrations",
      document([
        flat("a", "human", { human_prompt: "?", human_fields: [{ key: "a" }, { key: "b", requird: true }] }),
      ]),
      "steps[0].human_fields[1].requird",
      "required",
    ],
    ["agents", { name: "A", systemprompt: "x" }, "systemprompt", "system_prompt"],
    ["tools", { tool_type: "http", url: "https://example.com/", header: { a: "b" } }, "header", "headers"],
  ])("of %s is reported with its path and the nearest known field: %j", (kind, json, path, nearest) => {
    expect(unknownFields(kind, json)).toEqual([
      { path, message: expect.stringContaining(`did you mean "${nearest}"?`) },
    ]);
  });

  // Fails when a limit or a prompt that the step's type does not have is accepted and without effect.
  test.each([
    ["print", { prompt_template: "x" }, "prompt_template", "agent, llm, tool"],
    ["llm", { print_content: "x" }, "print_content", "print"],
    ["print", { allowed_tools: ["t"] }, "allowed_tools", "agent"],
    ["human", { loop_count: 4 }, "loop_count", "loop"],
    ["llm", { human_timeout_seconds: 60 }, "human_timeout_seconds", "human"],
    ["transform", { merge_strategy: "dict" }, "merge_strategy", "merge"],
    ["if_else", { switch_cases: { a: null } }, "switch_cases", "switch"],
    ["end", { model: "openai/gpt-4.1" }, "model", "agent, llm, tool, evaluator, extract_json"],
  ])(
    "of a step of type %s is refused with the types of steps that have it: %j",
    (type, fields, field, owners) => {
      expect(unknownFields("orchestrations", document([flat("a", type, fields)]))).toEqual([
        {
          path: `steps[0].${field}`,
          message: `is a field of steps of type ${owners}, and this step is of type ${type}: leave it out`,
        },
      ]);
    },
  );

  test.each<["orchestrations" | "agents" | "mcp_servers", Fields, string]>([
    ["agents", { name: "A", db_configs: [{}] }, "db_configs"],
    ["agents", { name: "A", repos: ["repo_1"] }, "repos"],
    [
      "orchestrations",
      document([flat("a", "llm", { include_full_history: true })]),
      "steps[0].include_full_history",
    ],
    [
      "orchestrations",
      document([flat("a", "llm", { cache_semantic_enabled: true })]),
      "steps[0].cache_semantic_enabled",
    ],
    ["mcp_servers", { name: "s", url: "https://example.com/", enabled: false }, "enabled"],
  ])(
    "of %s and is not built yet is reported with what to do instead, unless it is empty or switched off: %j",
    (kind, json, path) => {
      expect(unknownFields(kind, json)).toEqual([]);
      const message: unknown = expect.stringMatching(/^is not available yet: \w/);
      expect(laterFields(kind, json)).toEqual([{ path, message }]);
      const empty = { db_configs: [], orchestration_id: null };
      expect(laterFields("agents", empty)).toEqual([]);
      const off = document([flat("a", "llm", { cache_semantic_enabled: false })]);
      expect(laterFields("orchestrations", off)).toEqual([]);
    },
  );

  test("is not reported where an imported definition or an answer of this API has it", () => {
    const steps = ["print", "llm", "agent", "human", "switch"].map((type) =>
      flat(type, type, {
        merge_strategy: "list",
        loop_count: 3,
        loop_step_ids: [],
        human_timeout_seconds: 3_600,
        cache_responses_enabled: false,
        cache_semantic_enabled: false,
        cache_response_ttl_seconds: 3_600,
        // Without cache_semantic_enabled the predecessor does not read the one, and never the other two.
        cache_response_threshold: 0.5,
        cache_tools_enabled: true,
        cache_tool_ttl_seconds: 60,
        include_full_history: type === "llm" ? null : false,
        future_field: null,
        another: "",
      }),
    );
    const answerFields = { version: 3, created_at: "x", updated_at: "x", edges: [], trigger: "manual" };
    expect(unknownFields("orchestrations", document(steps, answerFields))).toEqual([]);
    expect(laterFields("orchestrations", document(steps, answerFields))).toEqual([]);
    const agent = {
      id: "a",
      name: "A",
      repos: [],
      db_configs: [],
      orchestration_id: null,
      version: 1,
      skip_default_tools: true,
      delegate_agent_ids: [],
    };
    expect(unknownFields("agents", agent)).toEqual([]);
    expect(laterFields("agents", agent)).toEqual([]);
    expect(unknownFields("tools", { name: "t", tool_type: "http", code: "", version: 2 })).toEqual([]);
  });

  test("of another type of tool is refused", () => {
    expect(unknownFields("tools", { tool_type: "http", method: "GET", code: "x = 1" })).toEqual([
      {
        path: "code",
        message: "is a field of tools of type python, and this tool is of type http: leave it out",
      },
    ]);
    expect(unknownFields("tools", { tool_type: "python", code: "x = 1", method: "GET", url: "" })).toEqual(
      [],
    );
  });

  test("of turns gets a warning on steps that have none, except for its default", () => {
    const steps = [
      flat("a", "agent", { max_turns: 3 }),
      flat("b", "evaluator", { max_turns: 5 }),
      flat("c", "llm"),
    ];
    expect(unreadTurns(document(steps))).toEqual([
      {
        path: "steps[1].max_turns",
        message: "is read on steps of type agent alone, and this step is of type evaluator",
      },
    ]);
  });

  // Fails when a schema has a field without a class in the table, or when the table has a field that no schema has.
  test("is in no schema: every field of a schema has a class that says what becomes of it", () => {
    const schemas: { [record in keyof typeof fieldClasses]: object[] } = {
      orchestration: [OrchestrationDocument.shape],
      stateField: [StateField.shape],
      step: Object.values(stepShapes),
      retry: [Retry.shape],
      humanField: [HumanFieldRecord.shape],
      escalation: [Escalation.shape],
      agent: [AgentDocument.shape],
      tool: Object.values(toolShapes),
      reconcile: [Reconcile.shape],
      mcpServer: [McpServerDocument.shape],
      oauthClient: [OAuthClient.shape],
    };
    for (const [record, shapes] of Object.entries(schemas)) {
      const inSchemas = new Set(shapes.flatMap((shape) => Object.keys(shape)));
      const classes = Object.entries(
        Object.entries(fieldClasses).find(([name]) => name === record)?.[1] ?? {},
      );
      const stored = classes
        .filter(([, fieldClass]) => fieldClass === "read" || fieldClass === "kept")
        .map(([name]) => name);
      expect([record, stored.toSorted()]).toEqual([record, [...inSchemas].toSorted()]);
    }
  });

  test.each([null, 3, [], "x", { steps: [null, 3, ["x"]], state_schema: [], human_fields: {} }])(
    "is searched for without an exception in %j",
    (json) => {
      expect(unknownFields("orchestrations", json)).toEqual(
        typeof json === "object" && json !== null && !Array.isArray(json)
          ? [{ path: "human_fields", message: expect.any(String) }]
          : [],
      );
    },
  );

  test("is reported fifty times at most, however many there are and however long their names are", () => {
    const many = Object.fromEntries(
      Array.from({ length: 50_000 }, (_, i) => [`field${"x".repeat(i % 200)}${i}`, 1]),
    );
    const startedAt = cpuMs();
    expect(unknownFields("agents", many)).toHaveLength(50);
    expect(cpuMs() - startedAt).toBeLessThan(1_000);
  });
});

describe("a new orchestration", () => {
  const errorsOfNew = (json: unknown) => {
    const parsed = parseNewOrchestration(json);
    return parsed.ok ? { code: "ok", errors: [] } : parsed;
  };
  const topic = { state_schema: { topic: {} } };

  test.each([
    "{inptu}",
    "{Input}",
    "{ INPUT }",
    "{inputs}",
    "{input.name}",
    "{State.topic}",
    "{sttae.topic}",
    "{states.topic}",
    "{state.topic!r}",
    "{state.topic:.2f}",
    "{state .topic}",
    "{state. topic}",
    "{state[0]}",
    "{state['topic']}",
    "{state.topic",
    "{state.töpic}",
    "{\u200binput}",
    "{\u0456nput}",
    "{\uff49nput}",
    "{\u2060state.topic}",
  ])("with %s, which would go out as text, is refused with the field and the place", (place) => {
    const fields = { print: "print_content", llm: "prompt_template", human: "human_prompt" };
    for (const [type, field] of Object.entries(fields)) {
      const result = errorsOfNew(document([{ id: "a", type, [field]: `On ${place} we say` }], topic));
      expect(result).toMatchObject({ code: "invalid", errors: [{ path: `steps[0].${field}` }] });
      expect(result.errors[0]?.message).toContain(place.slice(0, 6));
    }
  });

  test.each([
    '{"a": {"b": 1}} {}',
    '{"a": {"b": [1]}}',
    "{{x}}",
    "{state.}",
    "{json: 1}",
    "{state} {city} {int} {output} {print}",
    "{stats.mean} {stage.x} {x.state}",
    "{input: 3} { state of the art }",
    "function f() { input.read(); }",
    "{ state.topic } {input} {\tinput }",
    "{{state.topic}}",
  ])("keeps %s", (content) => {
    expect(errorsOfNew(document([print("a", { print_content: content })], topic)).errors).toEqual([]);
  });

  test.each<[Fields, Fields, string, string]>([
    [{}, { k: { type: "strng" } }, "state_schema.k.type", 'did you mean "string"?'],
    [{}, { k: { type: "number", default: "5" } }, "state_schema.k.default", "is no number"],
    [{}, { k: { type: "list", default: {} } }, "state_schema.k.default", "is no list"],
    [{ route_descriptions: { yess: "x" } }, {}, "steps[0].route_descriptions.yess", 'did you mean "yes"?'],
  ])("with a value that has no effect is refused: %j %j", (step, state_schema, path, text) => {
    const steps = [evaluator("e", { yes: null }, step)];
    expect(errorsOfNew(document(steps, { state_schema })).errors).toEqual([
      { path, message: expect.stringContaining(text) },
    ]);
  });

  test("gives the hints of its form to the clients", () => {
    const field = { key: "k", placeholder: "e.g. 3", description: "How many", default: "" };
    const parsed = parseNewOrchestration(
      document([{ id: "a", type: "human", human_prompt: "?", human_fields: [field] }]),
    );
    expect(parsed).toMatchObject({
      definition: {
        steps: [{ human_fields: [{ key: "k", placeholder: "e.g. 3", description: "How many" }] }],
      },
    });
  });

  test("with a misspelt key in a place with spaces is refused", () => {
    const result = errorsOfNew(document([print("a", { print_content: "{ state.topc }" })], topic));
    expect(result.errors).toMatchObject([{ path: "steps[0].print_content" }]);
  });

  test.each([
    ["if_else", "if_condition", `${"(".repeat(101)}1${")".repeat(101)}`],
    ["if_else", "if_condition", `${"(".repeat(20_000)} and 1`],
    ["if_else", "if_condition", `"${'\\"'.repeat(30_000)}`],
    ["switch", "switch_expression", "1 + ".repeat(3_000)],
    ["transform", "transform_code", `result = ${"[".repeat(30_000)}`],
  ])("with code in a step of type %s that is too long or too deep is refused soon", (type, field, code) => {
    const startedAt = cpuMs();
    const result = errorsOfNew(document([{ id: "a", type, [field]: code }]));
    expect(cpuMs() - startedAt).toBeLessThan(1_000);
    expect(result).toMatchObject({ code: "invalid", errors: [{ path: `steps[0].${field}` }] });
  });

  test("with a schedule is not available yet; manual, null and an absent trigger are", () => {
    expect(errorsOfNew(document([print("a")], { trigger: "scheduled" }))).toMatchObject({
      code: "not_yet",
      errors: [{ path: "trigger", message: expect.stringContaining("PUT /api/v2/schedules/{id}") }],
    });
    for (const trigger of ["manual", null, undefined]) {
      expect(errorsOfNew(document([print("a")], { trigger })).code).toBe("ok");
    }
    // A version that was saved before this rule is still executed.
    expect(errorsOf(document([print("a")], { trigger: "scheduled" })).code).toBe("ok");
  });
});

describe("the inputSchema of a tool", () => {
  const schemaOf = (inputSchema: unknown): unknown => {
    const parsed = parseTool({ name: "t", tool_type: "http", url: "https://example.com/", inputSchema });
    if (!parsed.ok) return parsed.errors;
    return "inputSchema" in parsed.definition && parsed.definition.inputSchema;
  };

  test.each([
    [{}, { type: "object", properties: {} }],
    [null, { type: "object", properties: {} }],
    [{ type: "object" }, { type: "object", properties: {} }],
    [{ type: ["object", "null"] }, { type: "object", properties: {} }],
    [{ properties: { q: true } }, { type: "object", properties: { q: {} } }],
    [
      { type: "OBJECT", properties: { q: { type: "STRING", required: true }, l: { type: "array" } } },
      {
        type: "object",
        properties: { q: { type: "string" }, l: { type: "array", items: {} } },
        required: ["q"],
      },
    ],
    [
      { type: "object", properties: { q: { type: "string" } }, required: ["q"], additionalProperties: false },
      { type: "object", properties: { q: { type: "string" } }, required: ["q"], additionalProperties: false },
    ],
  ])("%j becomes what all providers take", (written, schema) => {
    expect(schemaOf(written)).toEqual(schema);
  });

  test.each([
    { type: "string" },
    { type: "array" },
    { properties: [] },
    { required: "q" },
    { required: [1] },
  ])("%j is refused", (written) => {
    expect(schemaOf(written)).toMatchObject([{ path: "inputSchema" }]);
  });
});
