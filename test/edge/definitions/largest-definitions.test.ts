import { describe, expect, test } from "vitest";
import { checkDefinition } from "../../../edge/definitions/check-definition.ts";
import {
  codeWarnings,
  doubtfulWarnings,
  parseNewOrchestration,
  parseNewTool,
  uncheckedFields,
  unfilledWarnings,
  unreadWarnings,
  unsetInputs,
  unsetReads,
} from "../../../shared/contracts/definition/index.ts";
import { AppError } from "../../../shared/errors.ts";
import { cpuMs } from "../../services/cpu-time.ts";

type Fields = { [field: string]: unknown };

/** Most of these took seconds to minutes of the edge's one thread when they grew with the square of the size. The slowest needs a quarter of this. */
const MOST_MS = 1_000;

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const names = (prefix: string, count: number): string[] => numbers(count).map((i) => `${prefix}${i}`);
const table = (keys: readonly string[], value: unknown): Fields =>
  Object.fromEntries(keys.map((key) => [key, value]));

/** A definition of these steps, each of which leads to the next one. */
const orchestration = (steps: readonly Fields[], more: Fields = {}): Fields => ({
  id: "o",
  name: "O",
  entry_step_id: "s0",
  steps: steps.map((step, i) => ({
    id: `s${i}`,
    next_step_id: i + 1 < steps.length ? `s${i + 1}` : null,
    ...step,
  })),
  ...more,
});
const times = (count: number, step: (i: number) => Fields): Fields[] => numbers(count).map(step);
const print = { type: "print", print_content: "x" };
const ofState = (value: unknown): Fields =>
  orchestration([print], { state_schema: { a: { default: value } } });
const tool = (inputSchema: Fields, more: Fields = {}): Fields => ({
  name: "t",
  tool_type: "http",
  url: "http://a.example/b",
  inputSchema,
  ...more,
});

const nets = times(100, (i) => ({
  id: `n${i}`,
  type: "switch",
  switch_expression: "state.a",
  switch_cases: Object.fromEntries(numbers(50).map((k) => [`c${k}`, `n${(i * 7 + k) % 100}`])),
}));

const orchestrations: [what: string, body: Fields][] = [
  ["20,000 input keys", orchestration(times(200, (i) => ({ ...print, input_keys: names(`k${i}_`, 100) })))],
  [
    "30,000 places for keys that nothing sets",
    orchestration(times(200, (i) => ({ ...print, print_content: names(`{state.z${i}_`, 150).join("}") }))),
  ],
  [
    "code with 4,000 names and as many that nothing defines",
    orchestration([
      {
        type: "transform",
        transform_code: `var ${names("a", 4_000).join()};result=[${names("b", 4_000).join()}]`,
      },
    ]),
  ],
  [
    "100 forks",
    orchestration([
      ...times(100, (i) => ({ type: "parallel", parallel_branches: [[`b${i}`]] })),
      ...times(100, (i) => ({ ...print, id: `b${i}`, next_step_id: null, output_key: `k${i}` })),
    ]),
  ],
  [
    "5,000 branches that lead into the same steps",
    orchestration([
      ...times(100, () => ({ type: "parallel", parallel_branches: numbers(50).map(() => ["n0"]) })),
      ...nets,
    ]),
  ],
  [
    "steps that skip each other on all paths",
    orchestration([
      ...times(100, (i) => ({ ...print, max_iterations: 1, next_step_id: i < 99 ? `s${i + 1}` : null })),
      ...nets.map((step) => ({ ...step, max_iterations: 0, switch_cases: table(names("c", 50), "s0") })),
    ]),
  ],
  [
    "defaults of forms with patterns",
    orchestration([
      {
        type: "human",
        human_prompt: "x",
        human_fields: times(90, (k) => ({
          key: `k${k}`,
          pattern: "a*".repeat(100),
          default: "a".repeat(9_900),
        })),
      },
    ]),
  ],
  [
    "output schemas of names that are no keywords",
    orchestration(
      times(30, () => ({
        type: "llm",
        prompt_template: "x",
        output_schema: table(names("minimux", 1_500), 1),
      })),
    ),
  ],
  ["500,000 steps", orchestration([], { steps: numbers(500_000) })],
  ["a list of 500,000 numbers", ofState(numbers(500_000))],
  [
    "50,000 keys of state that have no right name",
    orchestration([print], { state_schema: table(names("-", 49_000), 1) }),
  ],
  ["90,000 fields that it does not have", orchestration([print], table(names("x", 90_000), 1))],
  ["lists 500,000 deep", ofState(JSON.parse("[".repeat(500_000) + "]".repeat(500_000)))],
];

const tools: [what: string, body: Fields][] = [
  ["8,000 headers", tool({}, { headers: table(names("h", 8_000), "") })],
  [
    "20,000 references, each to the next one",
    tool({
      type: "object",
      properties: { a: { $ref: "#/$defs/a0" } },
      $defs: Object.fromEntries(
        numbers(20_000).map((i) => [`a${i}`, i === 19_999 ? {} : { $ref: `#/$defs/a${i + 1}` }]),
      ),
    }),
  ],
  [
    "300,000 choices",
    tool({ type: "object", properties: { a: { anyOf: numbers(300_000).map(() => true) } } }),
  ],
  ["100,000 required names", tool({ type: "object", properties: { a: {} }, required: names("r", 100_000) })],
];

describe("a definition of up to 1 MiB is accepted or refused in a fraction of a second, also one with", () => {
  test.each(orchestrations)("%s", (_, body) => {
    const startedAt = cpuMs();
    expect(
      refusalOf(() => warnings(checkDefinition("orchestrations", body, parseNewOrchestration, false))),
    ).toMatch(/^(?:invalid|not_yet|accepted)$/);
    expect(cpuMs() - startedAt).toBeLessThan(MOST_MS);
  });

  test.each(tools)("%s", (_, body) => {
    const startedAt = cpuMs();
    expect(refusalOf(() => checkDefinition("tools", body, parseNewTool, false))).toMatch(
      /^(?:invalid|accepted)$/,
    );
    expect(cpuMs() - startedAt).toBeLessThan(MOST_MS);
  });
});

test("a definition with more than 50,000 values is refused, with the most that it may have", () => {
  expect(() =>
    checkDefinition("orchestrations", ofState(numbers(50_001)), parseNewOrchestration, false),
  ).toThrow(
    expect.objectContaining({
      code: "invalid",
      fields: [{ path: "", message: expect.stringContaining("has more than 50000 values") }],
    }),
  );
});

test("a refusal names the first 100 wrong fields", () => {
  const steps = times(150, () => ({ type: "print" }));
  expect(() => checkDefinition("orchestrations", orchestration(steps), parseNewOrchestration, false)).toThrow(
    expect.objectContaining({ fields: expect.objectContaining({ length: 100 }) }),
  );
});

type Checked = Parameters<typeof codeWarnings>[0];

function warnings(definition: Checked): unknown[] {
  const all = [
    codeWarnings,
    unsetReads,
    unsetInputs,
    unfilledWarnings,
    unreadWarnings,
    doubtfulWarnings,
    uncheckedFields,
  ];
  return all.flatMap((warningsOf) => warningsOf(definition));
}

function refusalOf(check: () => unknown): string {
  try {
    check();
    return "accepted";
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

test("a tool with more than 100 headers is refused: each of its answers is searched for the values of all", () => {
  const body = tool({}, { headers: table(names("h", 101), "x") });
  expect(() => checkDefinition("tools", body, parseNewTool, false)).toThrow(
    expect.objectContaining({ fields: [{ path: "headers", message: "may have at most 100 entries" }] }),
  );
});
