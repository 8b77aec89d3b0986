import { describe, expect, test } from "vitest";
import { argumentErrors, argumentsOf } from "../../../worker-node/engine/tool-arguments.ts";
import { typedArguments } from "../../../worker-node/engine/typed-arguments.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { cpuMs } from "../../services/cpu-time.ts";

test.each<[Json, Json]>([
  [null, {}],
  ["", {}],
  [" \n", {}],
  ["{}", {}],
  ["null", {}],
  ['""', {}],
  ["None", {}],
  ["undefined", {}],
  [[], {}],
  [{ q: 1 }, { q: 1 }],
  ['{"q": 1}', { q: 1 }],
  // Twice over, with an empty object before, with a mark after, in a fence, and the same object twice.
  ['"{\\"q\\": 1}"', { q: 1 }],
  ['{}{"q": 1}', { q: 1 }],
  ["{}{}", {}],
  ['{"q": "}{"}</tool_call>', { q: "}{" }],
  ['```json\n{"q": 1}\n```', { q: 1 }],
  ['{"q": 1}{"q": 1}', { q: 1 }],
  [
    '{"id": 12345678901234567890, "n": [-9007199254740993]}',
    { id: "12345678901234567890", n: ["-9007199254740993"] },
  ],
  // Slips of a model that writes JSON by hand.
  ['{"q": "a\n\tb"}', { q: "a\n\tb" }],
  ['{"q": [1, 2, ], "r": {"s": "a,]", }, \n}', { q: [1, 2], r: { s: "a,]" } }],
  ['{"q": "say \\"a,}\\" \n"}', { q: 'say "a,}" \n' }],
  ['{"q": 1,,}', null],
  ['{"q": "a\n', null],
  // Two calls in one, a cut one, an object that stands in prose, and one that is nested too deep to be stored.
  ['{"q": 1}{"q": 2}', null],
  ['{}{"q": 1', null],
  ['{"a": {"q": 1}, "b', null],
  ['I call it with {"q": 1}', null],
  [`{"q": ${"[".repeat(70)}${"]".repeat(70)}}`, null],
  ["text", null],
  ["[1]", null],
  [[1], null],
  [7, null],
])("arguments written as %j are read as %j", (written, args) => {
  expect(argumentsOf(written)).toEqual(args);
});

describe("arguments of more than 100,000 characters", () => {
  // Fails when slips are mended in a text of any length: 16 MB from a model held up the worker for 3 s, three times.
  test.each([
    ["escapes", `{"q": "${'\\"'.repeat(2_000_000)}`],
    ["commas", `{"q": [${", ".repeat(2_000_000)}`],
    ["brackets", `{"q": ${",}".repeat(1_000_000)}`],
    ["one text without its end", `{"q": "${"x".repeat(16_000_000)}`],
    ["empty objects", "{}".repeat(1_000_000)],
  ])("that are no JSON are refused, and nothing in them is searched for: %s", (_, text) => {
    const startedMs = cpuMs();
    expect(argumentsOf(text)).toBeNull();
    expect(cpuMs() - startedMs).toBeLessThan(400);
  });

  test("are read where they are JSON, and without a mended slip", () => {
    const q = "x".repeat(200_000);
    expect(argumentsOf(JSON.stringify({ q }))).toEqual({ q });
    expect(argumentsOf(`{"q": "${q}",}`)).toBeNull();
    expect(argumentsOf(`{"q": "${q.slice(0, 90_000)}",}`)).toEqual({ q: q.slice(0, 90_000) });
  });
});

describe("arguments", () => {
  const schema: JsonObject = {
    type: "object",
    properties: {
      q: { type: "string" },
      n: { type: ["integer", "null"] },
      kind: { enum: ["a", "b"] },
      list: {
        type: "array",
        items: { type: "object", properties: { id: { type: "number" } }, required: ["id"] },
      },
      any: {},
    },
    required: ["q"],
    additionalProperties: false,
  };

  test.each<[JsonObject, string]>([
    [{}, "the argument q is missing"],
    [{ q: 5 }, "the argument q must be of type string, and is number"],
    [{ q: null }, "the argument q must be of type string, and is null"],
    [{ q: "x", n: 1.5 }, "the argument n must be of type integer or null, and is number"],
    [{ q: "x", kind: "c" }, 'the argument kind must be one of ["a","b"]'],
    [{ q: "x", list: [{ id: 1 }, {}] }, "the argument list[1].id is missing"],
    [{ q: "x", list: "y" }, "the argument list must be of type array, and is string"],
    [{ q: "x", Q: 1 }, "there is no argument Q: they are q, n, kind, list, any"],
  ])("%j do not fit the schema: %s", (args, error) => {
    expect(argumentErrors(args, schema)).toEqual([error]);
  });

  test.each<JsonObject>([
    { q: "" },
    { q: "x", n: null, kind: "a", list: [], any: { deep: [1] } },
    { q: "x", kind: null, list: null },
    { q: "x", n: "12345678901234567890", list: [{ id: "-9007199254740993" }] },
  ])("%j fit the schema", (args) => {
    expect(argumentErrors(args, schema)).toEqual([]);
  });

  // As Pydantic and Zod write nested models, optional values and choices.
  const generated: JsonObject = {
    type: "object",
    properties: {
      item: { $ref: "#/$defs/Item" },
      note: { anyOf: [{ type: "string" }, { type: "null" }] },
      shape: {
        oneOf: [
          { type: "object", properties: { r: { type: "number" } }, required: ["r"] },
          { type: "string", enum: ["dot"] },
        ],
      },
      both: { allOf: [{ $ref: "#/$defs/Item" }, { required: ["n"] }] },
    },
    $defs: {
      Item: {
        type: "object",
        properties: { id: { type: "integer" }, parts: { type: "array", items: { $ref: "#/$defs/Item" } } },
        required: ["id"],
      },
    },
  };

  // Fails when a schema behind a reference or a choice is not checked.
  test.each<[JsonObject, string[]]>([
    [
      { item: { id: 1, parts: [{ id: 2, parts: [{}] }] } },
      ["the argument item.parts[0].parts[0].id is missing"],
    ],
    [{ note: 5 }, ["the argument note must be of type string, and is number"]],
    [{ shape: { r: "x" } }, ["the argument shape.r must be of type number, and is string"]],
    [{ shape: "line" }, ['the argument shape must be one of ["dot"]']],
    [{ both: { id: 1 } }, ["the argument both.n is missing"]],
    [{ item: { id: 1 }, note: null, shape: "dot", both: { id: 1, n: 2 } }, []],
    [{ shape: { r: 1 }, note: "x" }, []],
  ])("%j have the faults %j by a generated schema", (args, errors) => {
    expect(argumentErrors(args, generated)).toEqual(errors);
  });

  // Models write values in another type than the schema's, and many do so again when they are told.
  test.each<[JsonObject, JsonObject]>([
    [{ list: '[{"id": "7"}]' }, { list: [{ id: 7 }] }],
    [{ item: '{"id": 1, "parts": "[]"}' }, { item: { id: 1, parts: [] } }],
    [
      { n: "42", x: " -1.5e3 ", yes: "True", no: "false" },
      { n: 42, x: -1500, yes: true, no: false },
    ],
    [
      { q: 12345, note: 7 },
      { q: "12345", note: "7" },
    ],
    [
      { maybe: "3", either: "3", all: [1, "2"] },
      { maybe: 3, either: "3", all: [1, 2] },
    ],
    [{ map: { a: "1" } }, { map: { a: 1 } }],
    // Not plain: another number than the schema's, a list of one item, cut JSON, a name, and what JSON would not keep.
    [
      { n: "1.5", list: "a,b", item: '{"id": 1', yes: "yes", x: "0x1f", q: 1.5, maybe: null, any: "1" },
      { n: "1.5", list: "a,b", item: '{"id": 1', yes: "yes", x: "0x1f", q: 1.5, maybe: null, any: "1" },
    ],
    // Digits beyond 2^53 stay a text of digits, which the tool gets as a number.
    [
      { n: "12345678901234567890", __proto__x: "1" },
      { n: "12345678901234567890", __proto__x: "1" },
    ],
  ])("written as %j are %j by the types of the schema", (args, expected) => {
    const number = { type: "number" };
    const properties = {
      n: { type: "integer" },
      x: number,
      yes: { type: "boolean" },
      no: { type: "boolean", nullable: true },
      q: { type: "string" },
      note: { anyOf: [{ type: "string" }, { type: "null" }] },
      maybe: { anyOf: [{ type: "integer" }, { type: "null" }] },
      either: { type: ["integer", "string"] },
      all: { type: "array", items: number },
      map: { type: "object", additionalProperties: number },
      any: {},
      list: { type: "array", items: { $ref: "#/$defs/Item" } },
      item: { $ref: "#/$defs/Item" },
    };
    expect(typedArguments(args, { ...generated, properties })).toEqual(expected);
  });

  // Fails when arguments that the schema takes are changed into ones that it refuses.
  test.each<[JsonObject, JsonObject]>([
    // A choice of objects: the first has the value's type, and not its fields.
    [{ edit: { kind: "count", value: 1 } }, { edit: { kind: "count", value: 1 } }],
    [{ edit: { kind: "label", value: "1" } }, { edit: { kind: "label", value: "1" } }],
    [{ edit: { kind: "count", value: "1" } }, { edit: { kind: "count", value: 1 } }],
    [{ edit: '{"kind": "count", "value": "1"}' }, { edit: { kind: "count", value: 1 } }],
    [{ edits: [{ kind: "count", value: 1 }] }, { edits: [{ kind: "count", value: 1 }] }],
    [{ either: { value: "1" } }, { either: { value: "1" } }],
    [{ pair: ["5", "5"] }, { pair: ["5", 5] }],
    [{ map: { s_a: "5" } }, { map: { s_a: "5" } }],
    [{ one: { kind: "Count", value: "1" } }, { one: { kind: "Count", value: 1 } }],
    [{ many: 5 }, { many: 5 }],
    [{ open: 5 }, { open: 5 }],
  ])("%j are %j: what the schema takes stays as it is", (args, expected) => {
    const label = { type: "object", properties: { kind: { const: "label" }, value: { type: "string" } } };
    const count = { type: "object", properties: { kind: { enum: ["count"] }, value: { type: "integer" } } };
    const unnamed = [count, label].map(({ properties: { value } }) => ({
      type: "object",
      properties: { value },
    }));
    const texts = Array.from({ length: 40 }, (_, i) => ({ type: "string", const: String(i) }));
    const properties = {
      edit: { oneOf: [label, count] },
      one: count,
      edits: { type: "array", items: { anyOf: [label, count] } },
      either: { anyOf: unnamed },
      pair: { type: "array", prefixItems: [{ type: "string" }], items: { type: "integer" } },
      map: {
        type: "object",
        patternProperties: { "^s_": { type: "string" } },
        additionalProperties: { type: "number" },
      },
      many: { anyOf: [...texts, { type: "integer" }] },
      open: { anyOf: [{ type: "string" }, true] },
    };
    expect(typedArguments(args, { type: "object", properties })).toEqual(expected);
  });

  test("are read in bounded time by a schema that refers to itself in all directions", () => {
    const forked = { anyOf: [{ $ref: "#/$defs/A" }, { $ref: "#/$defs/A" }, { type: "integer" }] };
    const choosing: JsonObject = {
      type: "object",
      properties: { a: { $ref: "#/$defs/A" } },
      $defs: { A: forked },
    };
    const startedMs = cpuMs();
    expect(typedArguments({ a: Array.from({ length: 10_000 }, () => "1") }, choosing).a).toHaveLength(10_000);
    expect(cpuMs() - startedMs).toBeLessThan(4_000);
  });

  test("are checked in bounded time by a schema that refers to itself in all directions", () => {
    const list = { type: "array", items: { anyOf: [{ $ref: "#/$defs/A" }, { $ref: "#/$defs/A" }] } };
    const forked = { type: "object", properties: { a: { $ref: "#/$defs/A" } }, $defs: { A: list } };
    let deep: Json = 1;
    for (let i = 0; i < 60; i++) deep = [deep];
    expect(argumentErrors({ a: deep }, forked)).toEqual([]);
    const loop = { type: "object", properties: { a: { $ref: "#/properties/a" } } };
    expect(argumentErrors({ a: 1 }, loop)).toEqual([]);
  });

  test("are never refused by an empty schema", () => {
    expect(argumentErrors({ a: 1, b: [null] }, { type: "object", properties: {} })).toEqual([]);
  });
});
