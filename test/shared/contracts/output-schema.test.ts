import { describe, expect, test } from "vitest";
import {
  answerArguments,
  parseNewAgent,
  parseNewOrchestration,
  parseNewTool,
} from "../../../shared/contracts/definition/index.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";

const parse = (output_schema: unknown, type = "llm") =>
  parseNewOrchestration({
    id: "o",
    name: "O",
    entry_step_id: "a",
    steps: [{ id: "a", type, agent_id: "agent_1", prompt_template: "x", output_schema }],
  });

describe("the output_schema of a step", () => {
  test.each(["llm", "agent"])("of type %s is repaired as the schemas of tools are, and kept", (type) => {
    const parsed = parse({ type: "OBJECT", properties: { tags: { type: "array" } } }, type);
    expect(parsed).toMatchObject({
      ok: true,
      definition: {
        steps: [{ output_schema: { type: "object", properties: { tags: { type: "array", items: {} } } } }],
      },
    });
  });

  test.each<[JsonObject, string, string]>([
    [{ type: "dict" }, "type", 'did you mean "object"?'],
    [{ properties: { a: { $ref: "#/$defs/x" } } }, "properties.a.$ref", "leads nowhere"],
    [{ properties: { a: { pattern: "(" } } }, "properties.a.pattern", "is no regular expression"],
    [
      { anyOf: [{ unevaluatedProperties: false }] },
      "anyOf[0].unevaluatedProperties",
      "use additionalProperties",
    ],
    [{ dependencies: { a: ["b"] } }, "dependencies", "use dependentRequired"],
    [{ type: "object", propertys: { a: {} } }, "propertys", 'did you mean "properties"?'],
    [{ properties: { a: { type: "string", maxLenght: 3 } } }, "properties.a.maxLenght", '"maxLength"?'],
    [{ type: "array", items: { requierd: ["a"] } }, "items.requierd", 'did you mean "required"?'],
    [{ properties: { a: { type: "number", min: 3 } } }, "properties.a.min", 'did you mean "minimum"?'],
  ])("that would be ignored is refused with its path: %j", (schema, path, message) => {
    expect(parse(schema)).toMatchObject({
      ok: false,
      code: "invalid",
      errors: [{ path: `steps[0].output_schema.${path}`, message: expect.stringContaining(message) }],
    });
  });

  test("may have annotations of its author, and properties of any name", () => {
    const properties = {
      maxLenght: { type: "string", "x-order": 1, ui: "wide", markdown: true, label: "Length" },
    };
    expect(parse({ type: "object", properties, version: 2, nullable: true, id: "a" })).toMatchObject({
      ok: true,
    });
  });

  test("is bounded", () => {
    expect(parse({ description: "x".repeat(33_000) })).toMatchObject({
      ok: false,
      errors: [{ path: "steps[0].output_schema", message: "must be at most 32768 characters of JSON" }],
    });
  });

  test("becomes the schema of the answer tool's arguments if providers accept it there, else that of one argument", () => {
    const plain = { type: "object", properties: { a: { type: "string" } } };
    expect(answerArguments(plain)).toMatchObject({ isInside: false, parameters: plain });
    const schema = {
      type: "array",
      items: { anyOf: [{ $ref: "#/$defs/leaf" }, { $ref: "#" }] },
      $defs: { leaf: { type: "string" } },
    };
    expect(answerArguments(schema)).toEqual({
      isInside: true,
      parameters: {
        type: "object",
        properties: {
          value: {
            type: "array",
            items: { anyOf: [{ $ref: "#/$defs/leaf" }, { $ref: "#/properties/value" }] },
          },
        },
        required: ["value"],
        additionalProperties: false,
        $defs: { leaf: { type: "string" } },
      },
    });
    for (const odd of [
      { anyOf: [plain], type: "object" },
      { type: "object", properties: { "a b": {} } },
    ])
      expect(answerArguments(odd).isInside).toBe(true);
  });
});

test.each(["final_answer", "delegate_to_agent"])(
  "a tool cannot be saved under the name of the engine's own: %s",
  (name) => {
    expect(parseNewTool({ name, tool_type: "http", url: "https://example.com/" })).toMatchObject({
      ok: false,
      errors: [{ path: "name" }],
    });
  },
);

test("an agent may delegate to others by their ids, and not to itself", () => {
  const agent = { id: "a", name: "A", type: "delegate", delegate_agent_ids: ["b"] };
  expect(parseNewAgent(agent)).toMatchObject({ ok: true, definition: { delegate_agent_ids: ["b"] } });
  expect(parseNewAgent({ ...agent, delegate_agent_ids: ["b", "a"] })).toMatchObject({
    ok: false,
    errors: [{ path: "delegate_agent_ids[1]", message: "an agent cannot delegate to itself" }],
  });
});
