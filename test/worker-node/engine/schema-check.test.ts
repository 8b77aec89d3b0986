import { z } from "zod";
import { describe, expect, test } from "vitest";
import { schemaFaults, SchemaTooComplex } from "../../../worker-node/engine/schema-check.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";

const faults = (value: Json, schema: Json): string[] =>
  schemaFaults(value, schema, (pattern, text) => new RegExp(pattern, "u").test(text));

/** As text: the linter takes an object with `then` for a promise. */
const conditional = z
  .record(z.string(), z.json())
  .parse(JSON.parse('{"if": {"type": "number"}, "then": {"minimum": 1}, "else": {"type": "string"}}'));

const tree = {
  $defs: {
    node: {
      type: "object",
      properties: { next: { $ref: "#/$defs/node" }, n: { type: "integer" } },
      required: ["n"],
    },
  },
  $ref: "#/$defs/node",
};

describe("a value by a schema", () => {
  test.each<[JsonObject, Json[], Json[]]>([
    [{ type: "integer" }, [1, -3, "9007199254740993"], [1.5, "1", null, true]],
    [{ type: ["string", "null"] }, ["", null], [0, [], {}]],
    [{ type: "string", nullable: true }, [null], [1]],
    [{ enum: [1, { a: 1, b: 2 }] }, [1, { b: 2, a: 1 }], [2, { a: 1 }]],
    [{ const: null }, [null], [0, ""]],
    [{ minimum: 1, exclusiveMaximum: 3 }, [1, 2.9, "text"], [0.9, 3]],
    [{ exclusiveMinimum: 1, maximum: 2 }, [1.1, 2], [1, 2.1]],
    [{ multipleOf: 0.1 }, [0.3, 7, 0], [0.35]],
    [{ multipleOf: 3 }, [9, -3], [10]],
    [{ minLength: 2, maxLength: 3 }, ["ab", "😀😀", "😀😀😀"], ["a", "abcd", "😀"]],
    [{ pattern: "b+" }, ["abc", 1], ["ac"]],
    [
      { minItems: 1, maxItems: 2, uniqueItems: true },
      [[1], [1, "1"], "x"],
      [[], [1, 2, 3], [{ a: 1 }, { a: 1 }]],
    ],
    [{ prefixItems: [{ type: "string" }], items: { type: "number" } }, [["a", 1], []], [[1], ["a", "b"]]],
    [{ prefixItems: [{}], items: false }, [[1]], [[1, 2]]],
    [{ contains: { const: 1 } }, [[0, 1]], [[0], []]],
    [{ contains: { const: 1 }, minContains: 0, maxContains: 1 }, [[], [1]], [[1, 1]]],
    [
      { required: ["a"], minProperties: 1, maxProperties: 2 },
      [{ a: 1 }, 5],
      [{}, { b: 1 }, { a: 1, b: 2, c: 3 }],
    ],
    [
      { properties: { a: { type: "string" } }, additionalProperties: false },
      [{ a: "x" }, {}],
      [{ a: 1 }, { b: 1 }],
    ],
    [
      { patternProperties: { "^x": { type: "number" } }, additionalProperties: { type: "string" } },
      [{ x1: 1, y: "a" }],
      [{ x1: "a" }, { y: 1 }],
    ],
    [{ propertyNames: { maxLength: 2 } }, [{ ab: 1 }], [{ abc: 1 }]],
    [{ dependentRequired: { a: ["b"] } }, [{ a: 1, b: 1 }, { b: 1 }], [{ a: 1 }]],
    [{ dependentSchemas: { a: { required: ["b"] } } }, [{ b: 1 }], [{ a: 1 }]],
    [{ allOf: [{ type: "number" }, { minimum: 2 }] }, [2], [1, "a"]],
    [{ anyOf: [{ type: "string" }, { minimum: 2 }] }, ["a", 3], [1]],
    [{ oneOf: [{ type: "number" }, { minimum: 2 }] }, [1, "a"], [3]],
    [{ not: { type: "null" } }, [0], [null]],
    [conditional, [1, "a"], [0, null]],
    [tree, [{ n: 1, next: { n: 2 } }], [{ n: 1, next: {} }, []]],
    [{ properties: { a: false } }, [{}], [{ a: 1 }]],
    // An annotation, as the standard has it.
    [{ format: "email" }, ["no address"], []],
  ])("fits %j, or has faults", (schema, fitting, others) => {
    for (const value of fitting) expect(faults(value, schema), JSON.stringify(value)).toEqual([]);
    for (const value of others) expect(faults(value, schema), JSON.stringify(value)).not.toEqual([]);
  });

  test("has each fault with its place, in words for a model", () => {
    const schema = {
      type: "object",
      properties: { items: { type: "array", items: { type: "object", required: ["id"] } } },
    };
    expect(faults({ items: [{ id: 1 }, {}, "x"] }, schema)).toEqual([
      "items[1].id is missing",
      "items[2] must be of type object, and is string",
    ]);
    expect(faults(1, { anyOf: [{ type: "string" }, { minimum: 2 }] })).toEqual([
      "the answer fits none of 2 forms: in the nearest, the answer must be of type string, and is number",
    ]);
  });

  // Fails when a tenant's schema can occupy a worker without a bound.
  test.each<[string, JsonObject, Json]>([
    ["refers to itself", { allOf: [{ $ref: "#" }] }, 1],
    [
      "doubles its work at each level",
      {
        $defs: Object.fromEntries(
          Array.from({ length: 60 }, (_, i) => [
            `d${i}`,
            i === 0
              ? { type: "string" }
              : { anyOf: [{ $ref: `#/$defs/d${i - 1}` }, { $ref: `#/$defs/d${i - 1}` }] },
          ]),
        ),
        $ref: "#/$defs/d59",
      },
      1,
    ],
    [
      "compares every item with long choices",
      { items: { enum: [Array.from({ length: 2_000 }, () => "x")] } },
      Array.from({ length: 200 }, () => Array.from({ length: 2_000 }, () => "x")),
    ],
  ])("is not checked to its end when the schema %s", (_, schema, value) => {
    expect(() => faults(value, schema)).toThrow(SchemaTooComplex);
  });
});
