import { INNER, withInnerSchemas } from "../../../shared/contracts/definition/tool-schema.ts";
import { isObject, listOf, objectOf } from "../../../shared/contracts/json.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { requiredBy } from "../../engine/tool-arguments.ts";

/** Keywords that OpenAI and Anthropic refuse beside the arguments of a tool. */
const FORMS = ["anyOf", "oneOf", "allOf"] as const;
const CONDITIONS = ["not", "enum", "const", "if", "then", "else", "dependentSchemas", "dependentRequired"];

/**
 * The schema of a server's tool without the forms at its top, which libraries write for a choice between several sets of arguments. The
 * result has the arguments of all forms. It demands an argument that each form demands.
 * @returns `more`: what the schema does not say any more, as a sentence for the model; empty: nothing
 */
export function flattened(schema: JsonObject): { schema: JsonObject; more: string } {
  const names = [...FORMS, ...CONDITIONS].filter((name) => Object.hasOwn(schema, name));
  if (names.length === 0) return { schema, more: "" };
  const taken = Object.fromEntries(names.map((name) => [name, schema[name] ?? null]));
  const rest = Object.fromEntries(Object.entries(schema).filter(([name]) => !names.includes(name)));
  const choices = [...listOf(taken["anyOf"]), ...listOf(taken["oneOf"])].filter(isObject);
  const all = listOf(taken["allOf"]).filter(isObject);
  const [first, ...others] = choices.map((choice) => new Set(requiredBy(choice)));
  const inEach = [...(first ?? [])].filter((name) => others.every((each) => each.has(name)));
  const required = [...new Set([...requiredBy(schema), ...all.flatMap(requiredBy), ...inEach])];
  const properties = Object.assign(
    {},
    ...[...choices, ...all, schema].map((form) => objectOf(form["properties"])),
  );
  return {
    schema: { ...rest, type: "object", properties, required },
    more: `The arguments must also fit this JSON Schema: ${JSON.stringify(taken)}`,
  };
}

/** A required argument that has no schema is refused by Google; the server still demands it. */
export function withKnownRequired(schema: JsonObject): JsonObject {
  const { properties, required } = schema;
  if (!isObject(properties) || !Array.isArray(required)) return schema;
  return {
    ...schema,
    required: required.filter((name) => typeof name === "string" && Object.hasOwn(properties, name)),
  };
}

/** Keywords in which null is a value, or is read as none. */
const NULLABLE: ReadonlySet<string> = new Set(["default", "const", "type"]);

/**
 * A schema whose empty tables are tables: PHP writes an empty one as a list, and Lua an empty list as a table. Keywords of null,
 * which serializers write for what is not set, are left out.
 */
export function withTables(schema: JsonObject): JsonObject {
  const kept = Object.entries(schema).filter(([keyword, value]) => value !== null || NULLABLE.has(keyword));
  const tables: JsonObject = Object.fromEntries(kept);
  for (const keyword of INNER.table) {
    const value = tables[keyword];
    if (Array.isArray(value) && value.length === 0) tables[keyword] = {};
  }
  const result = withInnerSchemas(tables, withTables);
  const { required } = result;
  if (isObject(required) && Object.keys(required).length === 0) result["required"] = [];
  return result;
}
