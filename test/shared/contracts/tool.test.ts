import { describe, expect, test } from "vitest";
import { parseNewTool, parseTool, toolWarnings } from "../../../shared/contracts/definition/index.ts";

type Fields = { [key: string]: unknown };

const tool = (fields: Fields): Fields => ({
  name: "t",
  tool_type: "http",
  url: "https://example.com/",
  ...fields,
});
const errorsOf = (fields: Fields) => {
  const parsed = parseNewTool(tool(fields));
  return parsed.ok ? [] : parsed.errors;
};
const schemaOf = (inputSchema: unknown) => {
  const parsed = parseNewTool(tool({ inputSchema }));
  if (!parsed.ok) return parsed.errors;
  return "inputSchema" in parsed.definition && parsed.definition.inputSchema;
};

describe("the inputSchema of a tool that is saved", () => {
  test.each<[string, Fields, Fields]>([
    [
      "a reference at the top",
      { $ref: "#/$defs/Args", $defs: { Args: { type: "object", properties: { q: { type: "string" } } } } },
      {
        type: "object",
        properties: { q: { type: "string" } },
        $defs: { Args: { type: "object", properties: { q: { type: "string" } } } },
      },
    ],
    [
      "types that are absent and can only be one",
      { properties: { o: { properties: {} }, l: { items: {} }, e: { enum: ["a", "a", "b"] }, any: {} } },
      {
        type: "object",
        properties: {
          o: { type: "object", properties: {} },
          l: { type: "array", items: {} },
          e: { type: "string", enum: ["a", "b"] },
          any: {},
        },
      },
    ],
    [
      "the older forms of limits and tuples",
      {
        $schema: "http://json-schema.org/draft-04/schema#",
        properties: {
          n: { type: "number", minimum: 0, exclusiveMinimum: true, maximum: 9, exclusiveMaximum: false },
          t: { type: "array", items: [{ type: "string" }], additionalItems: false },
        },
      },
      {
        type: "object",
        properties: {
          n: { type: "number", exclusiveMinimum: 0, maximum: 9 },
          t: { type: "array", prefixItems: [{ type: "string" }], items: false },
        },
      },
    ],
    [
      "capital letters deep inside",
      { properties: { q: { anyOf: [{ type: "STRING" }, { type: ["NULL"] }] } }, required: ["q", "q"] },
      {
        type: "object",
        properties: { q: { anyOf: [{ type: "string" }, { type: ["null"] }] } },
        required: ["q"],
      },
    ],
  ])("is repaired where it has only one meaning: %s", (_, written, schema) => {
    expect(schemaOf(written)).toEqual(schema);
    // A repaired schema that is saved again does not change.
    expect(schemaOf(schema)).toEqual(schema);
  });

  // Fails when a schema is saved that a provider refuses: every run with the tool would end with `model_bad_request`.
  test.each<[Fields, string, string]>([
    [{ anyOf: [{ required: ["a"] }] }, "inputSchema.anyOf", "providers refuse it"],
    [{ oneOf: [{}] }, "inputSchema.oneOf", "providers refuse it"],
    [{ type: "object", allOf: [{}] }, "inputSchema.allOf", "providers refuse it"],
    [{ not: {} }, "inputSchema.not", "providers refuse it"],
    [{ properties: { "first name": {} } }, "inputSchema.properties.first name", "1 to 64 letters"],
    [{ properties: { ["x".repeat(65)]: {} } }, `inputSchema.properties.${"x".repeat(65)}`, "1 to 64 letters"],
    [{ properties: { q: "string" } }, "inputSchema.properties.q", 'such as {"type": "string"}'],
    [{ properties: { q: false } }, "inputSchema.properties.q", "must be a schema"],
    [{ properties: { q: { type: "str" } } }, "inputSchema.properties.q.type", 'did you mean "string"?'],
    [
      { properties: { q: { type: ["int", "null"] } } },
      "inputSchema.properties.q.type",
      'did you mean "integer"?',
    ],
    [{ properties: { q: { type: "any" } } }, "inputSchema.properties.q.type", "the types are string"],
    [{ properties: { q: { enum: [] } } }, "inputSchema.properties.q.enum", "at least one value"],
    [
      { properties: { q: { type: "string", minLength: "3" } } },
      "inputSchema.properties.q.minLength",
      "whole number",
    ],
    [
      { properties: { q: { anyOf: {} } } },
      "inputSchema.properties.q.anyOf",
      "a list with at least one schema",
    ],
    [{ properties: { q: {} }, required: ["Q1"] }, "inputSchema.required[0]", 'did you mean "q"?'],
    [
      { properties: { q: { type: "object", properties: { a: {} }, required: ["b"] } } },
      "inputSchema.properties.q.required[0]",
      "is none of the properties",
    ],
    [{ properties: { q: { $ref: "#/$defs/Gone" } } }, "inputSchema.properties.q.$ref", "leads nowhere"],
    [
      { properties: { q: { $ref: "https://x.example/s" } } },
      "inputSchema.properties.q.$ref",
      "leads nowhere",
    ],
    [
      {
        properties: { q: { $ref: "#/$defs/A" } },
        $defs: { A: { $ref: "#/$defs/B" }, B: { $ref: "#/$defs/A" } },
      },
      "inputSchema.properties.q.$ref",
      "leads to itself",
    ],
    [{ $ref: "#" }, "inputSchema.$ref", "leads to itself"],
  ])("%j is refused with the place and the sentence", (inputSchema, path, text) => {
    const found = errorsOf({ inputSchema });
    expect(found.map((error) => error.path)).toContain(path);
    expect(found.find((error) => error.path === path)?.message).toContain(text);
    // A tool that was saved before this rule can still be called.
    expect(parseTool(tool({ inputSchema })).ok).toBe(true);
  });

  test.each<Fields>([
    { properties: { q: { anyOf: [{ type: "string" }, { type: "null" }] } }, additionalProperties: false },
    {
      properties: { n: { $ref: "#/$defs/N" } },
      $defs: { N: { properties: { child: { $ref: "#/$defs/N" } } } },
    },
    { properties: { items: { type: "string" }, properties: { type: "object" } } },
    { properties: { q: { const: 3, default: { type: "str" }, examples: [{ type: "x" }] } } },
    { properties: { q: { type: "object", additionalProperties: { type: "number" } } } },
    { description: "d", title: "t", properties: { q: { type: ["string", "null"], nullable: true } } },
  ])("%j is accepted", (inputSchema) => {
    expect(errorsOf({ inputSchema })).toEqual([]);
  });
});

describe("the URL of a tool", () => {
  const inputSchema = {
    properties: { city: { type: "string" }, page: { type: "integer" } },
    required: ["city"],
  };

  test.each([
    ["https://example.com/{city", "has a brace that belongs to no placeholder"],
    ["https://example.com/city}", "has a brace"],
    ["https://example.com/{}", "has a brace"],
    ["https://example.com/{{city}}", "has a brace"],
    ["https://example.com/${city}x{", "has a brace"],
    ["https://example.com/{city!r}", "has a brace"],
    ["https://example.com/${city}", "${city} would leave its $ in the URL: write {city}"],
    ['https://example.com/?q={"a":1}', "has a brace"],
    ["https://example.com/{ctiy}", 'is none of the properties of inputSchema: did you mean "city"?'],
    ["https://example.com/{data.ctiy.x}", 'did you mean "city"?'],
    ["https://example.com/#/{city}", "it is never sent"],
    ["https://example.com:99999/", "is no URL"],
  ])("%s is refused at PUT", (url, text) => {
    expect(errorsOf({ url, inputSchema })).toEqual([{ path: "url", message: expect.stringContaining(text) }]);
    expect(parseTool(tool({ url, inputSchema })).ok).toBe(true);
  });

  test.each([
    "https://example.com/{city}/{ page }?x=%7B1%7D",
    "https://example.com/{data.city}/{city.name}",
    "https://example.com/?all={data}",
  ])("%s is accepted", (url) => {
    expect(errorsOf({ url, inputSchema })).toEqual([]);
  });

  test("may have placeholders that the schema does not list, if it allows other arguments or lists none", () => {
    const url = "https://example.com/{other}";
    expect(errorsOf({ url, inputSchema: { ...inputSchema, additionalProperties: true } })).toEqual([]);
    expect(errorsOf({ url })).toEqual([]);
  });

  test("gets a warning for a placeholder whose argument the schema does not require", () => {
    const warningsOf = (fields: Fields) => {
      const parsed = parseNewTool(tool(fields));
      return parsed.ok ? toolWarnings(parsed.definition) : parsed.errors;
    };
    expect(warningsOf({ url: "https://example.com/{city}", inputSchema })).toEqual([]);
    expect(warningsOf({ url: "https://example.com/{page}", inputSchema })).toMatchObject([
      { path: "url", message: expect.stringContaining("list it in the required") },
    ]);
    expect(warningsOf({ url: "https://example.com/{other}" })).toMatchObject([
      { path: "url", message: expect.stringContaining("a model cannot know") },
    ]);
  });
});

test.each([
  [{ url: "https://example.com/:city/x" }, "url", ":city goes out as it is written: write {city}"],
  [{ url: "https://example.com/?q=<city>" }, "url", "<city> goes out as it is written: write {city}"],
  [{ headers: { Authorization: "Bearer $API_TOKEN" } }, "headers.Authorization", "looks like a variable"],
  [{ headers: { "X-Key": "<your key>" } }, "headers.X-Key", "looks like a variable"],
  [{ headers: { "X-Key": "{secrets: key}" } }, "headers.X-Key", "looks like a variable"],
])(
  "a placeholder of another system in a tool's request gets a warning: %j",
  (fields: Fields, path, message) => {
    const parsed = parseNewTool(tool({ inputSchema: { properties: { city: {}, id: {} } }, ...fields }));
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.errors));
    expect(toolWarnings(parsed.definition)).toEqual([{ path, message: expect.stringContaining(message) }]);
  },
);

test("a host with a port, JSON and secrets are no placeholders of another system", () => {
  const parsed = parseNewTool(
    tool({
      url: "https://example.com:8080/a:city/x?t=10:30",
      headers: { "X-A": '{"a": 1}', "X-B": "Basic dXNlcjpw$A==", "X-C": "a<b" },
      inputSchema: { properties: { city: {} } },
    }),
  );
  expect(parsed.ok && toolWarnings(parsed.definition)).toEqual([]);
});

describe("a header of a tool", () => {
  test.each([
    ["X Key", "v", "is no name of an HTTP header"],
    ["X-Key", "a\nb", "holds a character"],
    ["X-Key", "schlüssel – neu", "holds a character"],
    ["X-Key", " v", "must not begin or end with a space"],
    ["Authorization", "Bearer {token}", "headers take no placeholders"],
    ["Content-Length", "3", "is set for each call"],
    ["idempotency-key", "3", "is set for each call"],
  ])("%s: %s is refused at PUT", (name, value, text) => {
    expect(errorsOf({ headers: { [name]: value } })).toEqual([
      { path: `headers.${name}`, message: expect.stringContaining(text) },
    ]);
  });

  test("may hold JSON, and any other text that HTTP can send", () => {
    expect(errorsOf({ headers: { "X-Filter": '{"a": {"b": 1}} {}', "x-key": "schlüssel" } })).toEqual([]);
  });
});

describe("the reconcile of a tool that is saved", () => {
  const inputSchema = {
    type: "object",
    properties: { order: { type: "string" } },
    additionalProperties: false,
  };
  const reconcile = {
    url: "https://example.com/orders/{order}?key={effect_key}",
    found: "answer.items[0] ?? false",
  };

  test("is a GET on the tool's host, with its arguments and the effect key", () => {
    expect(parseNewTool(tool({ inputSchema, reconcile }))).toMatchObject({
      ok: true,
      definition: { reconcile: { method: "GET" } },
    });
  });

  test.each<[string, Fields, string, string]>([
    [
      "would send the tool's headers elsewhere",
      { url: "https://other.example.com/" },
      "url",
      "must have the scheme",
    ],
    ["names an argument that no call has", { url: "https://example.com/{oder}" }, "url", "{oder} is none of"],
    ["holds a secret", { url: "https://example.com/?api_key=abc" }, "url", "must hold no secret"],
    ["is no expression", { found: "answer.(" }, "found", "has a syntax error"],
    ["has a blank found", { found: " " }, "found", "is required"],
  ])("that %s is refused with its path", (_, changes, field, message) => {
    expect(errorsOf({ inputSchema, reconcile: { ...reconcile, ...changes } })).toEqual([
      { path: `reconcile.${field}`, message: expect.stringContaining(message) },
    ]);
  });
});
