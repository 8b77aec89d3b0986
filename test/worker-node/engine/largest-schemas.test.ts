import { expect, test } from "vitest";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { schemaFaults, SchemaTooComplex } from "../../../worker-node/engine/schema-check.ts";
import { argumentErrors } from "../../../worker-node/engine/tool-arguments.ts";
import { typedArguments } from "../../../worker-node/engine/typed-arguments.ts";
import { cpuMs } from "../../services/cpu-time.ts";

/** Each of these took 3 to 19 s of the worker's main thread, on which all runs wait, when each value went through a whole schema. */
const MOST_MS = 1_000;

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);
const texts = (count: number): string[] => numbers(count).map(String);
const table = (count: number, value: Json): JsonObject =>
  Object.fromEntries(texts(count).map((name) => [name, value]));
const empty = numbers(10_000).map((): JsonObject => ({}));
const ofItems = (items: JsonObject): JsonObject => ({ properties: { a: { type: "array", items } } });
const LONG_REF = `#/${"a/".repeat(15_000)}`;

test.each<[what: string, value: Json[], items: JsonObject]>([
  ["a reference of 15,000 parts", numbers(13_000), { $ref: LONG_REF }],
  ["a list of 7,000 types", numbers(13_000), { type: numbers(7_000).map(() => "number") }],
  ["2,000 patterns of names", empty, { patternProperties: table(2_000, true) }],
  ["2,000 names that need others", empty, { dependentRequired: table(2_000, []) }],
])("10,000 values are checked by an output schema with %s in a fraction of a second", (_, value, items) => {
  const startedAt = cpuMs();
  try {
    expect(schemaFaults(value, { items }, () => true)).toEqual([]);
  } catch (error) {
    expect(error).toBeInstanceOf(SchemaTooComplex);
  }
  expect(cpuMs() - startedAt).toBeLessThan(MOST_MS);
});

test.each<[what: string, args: JsonObject, schema: JsonObject]>([
  [
    "an enum of 40,000 values",
    { a: numbers(19_000) },
    ofItems({ enum: [...texts(20_000), ...numbers(20_000).toReversed()] }),
  ],
  ["two forms, one an enum", { a: numbers(19_000) }, ofItems({ anyOf: [{ enum: texts(20_000) }, {}] })],
  [
    "two forms, one with 20,000 required fields",
    { a: empty },
    ofItems({ anyOf: [{ required: texts(20_000) }, {}] }),
  ],
  ["20,000 required arguments", table(15_000, 1), { properties: table(20_000, {}), required: texts(20_000) }],
  [
    "arguments that it does not have",
    table(20_000, 1),
    { properties: table(5_000, {}), additionalProperties: false },
  ],
  ["a reference of 15,000 parts", { a: numbers(10_000) }, ofItems({ $ref: LONG_REF })],
  [
    "10,000 forms",
    { a: numbers(10_000) },
    ofItems({ anyOf: numbers(10_000).map(() => ({ type: "string" })) }),
  ],
  ["200,000 forms", { a: [1] }, ofItems({ anyOf: numbers(200_000).map(() => ({ type: "number" })) })],
  [
    "two forms of 5,000 fields",
    { a: empty },
    ofItems({ anyOf: numbers(2).map(() => ({ type: "object", properties: table(5_000, {}) })) }),
  ],
])(
  "arguments are typed and checked by the schema of a tool with %s in a fraction of a second",
  (_, args, schema) => {
    const startedAt = cpuMs();
    const errors = argumentErrors(typedArguments(args, schema), schema);
    expect(cpuMs() - startedAt).toBeLessThan(MOST_MS);
    expect(errors.length).toBeLessThanOrEqual(5);
  },
);

test("the error for an unknown argument names 100 of the arguments of a tool, and how many more there are", () => {
  const [error = ""] = argumentErrors({ x: 1 }, { properties: table(130, {}), additionalProperties: false });
  expect(error).toMatch(/^there is no argument x: they are 0, 1, .* 99 and 30 more$/);
});
