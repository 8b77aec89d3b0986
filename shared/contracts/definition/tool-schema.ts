import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../json.ts";

/** The types of JSON Schema. */
export const JSON_TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"];

/**
 * A tool's `inputSchema` as all providers take it, or why none takes it. A schema without a type or properties gets them.
 * Forms that providers refuse are repaired where they can mean one thing only: a `$ref` at the top, types in capital letters
 * or absent beside `properties`, `items` or texts to choose from, a list without `items`, `required: true` at a property, and
 * the older forms of limits and tuples.
 */
export function argumentSchemaOf(inputSchema: JsonObject): { schema: JsonObject } | { error: string } {
  const schema = inlined(inputSchema);
  const type =
    typeof schema["type"] === "string" ? schema["type"].toLowerCase() : (schema["type"] ?? "object");
  if (type !== "object" && !(Array.isArray(type) && type.includes("object"))) {
    return { error: 'must have the type "object": a tool gets its arguments by name' };
  }
  const properties = schema["properties"] ?? {};
  if (!isObject(properties))
    return { error: "properties must be an object, with a schema for each argument" };
  const { required = null, $schema: _, ...rest } = schema;
  if (required !== null && !(Array.isArray(required) && required.every((name) => typeof name === "string"))) {
    return { error: "required must be a list of names of arguments" };
  }
  return { schema: mended({ ...rest, required, type: "object", properties }) };
}

/** A schema with the repairs of `argumentSchemaOf`, of any type. */
export function mendedSchema(schema: JsonObject): JsonObject {
  const { $schema: _, ...rest } = inlined(schema);
  return mended(rest);
}

/** A schema that is only a reference to one of its own definitions, as generators write it, is that definition. */
function inlined(schema: JsonObject): JsonObject {
  const { $ref, ...rest } = schema;
  const target = typeof $ref === "string" ? targetOf(schema, $ref) : undefined;
  return isObject(target) && target["$ref"] === undefined ? { ...target, ...rest } : schema;
}

/** The schema that a local `$ref` names; undefined: there is none. */
export function targetOf(root: JsonObject, ref: string): Json | undefined {
  const known = targets.get(root) ?? new Map<string, Json | undefined>();
  targets.set(root, known);
  if (!known.has(ref)) known.set(ref, found(root, ref));
  return known.get(ref);
}

/** Each reference of a schema is followed once: a list has a hundred thousand items, and the reference of each may have as many parts. */
const targets = new WeakMap<JsonObject, Map<string, Json | undefined>>();

function found(root: JsonObject, ref: string): Json | undefined {
  if (ref === "#") return root;
  if (!ref.startsWith("#/")) return undefined;
  return ref
    .slice(2)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .reduce<Json | undefined>(
      (at, part) => (isObject(at) && Object.hasOwn(at, part) ? at[part] : undefined),
      root,
    );
}

/** The keywords whose value is a schema, a list of schemas, or a table of schemas. */
export const INNER = {
  one: ["items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"],
  list: ["anyOf", "oneOf", "allOf", "prefixItems"],
  table: ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"],
} as const;

/** The schema with `change` applied to each schema directly inside of it. */
export function withInnerSchemas(schema: JsonObject, change: (inner: JsonObject) => JsonObject): JsonObject {
  const result = { ...schema };
  const inner = (value: Json): Json => (isObject(value) ? change(value) : value);
  for (const keyword of INNER.table) {
    const value = result[keyword];
    if (isObject(value))
      result[keyword] = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, inner(each)]));
  }
  for (const keyword of INNER.one) {
    const value = result[keyword];
    if (value !== undefined) result[keyword] = inner(value);
  }
  for (const keyword of INNER.list) {
    const value = result[keyword];
    if (Array.isArray(value)) result[keyword] = value.map(inner);
  }
  return result;
}

function mended(schema: JsonObject): JsonObject {
  const result: JsonObject = withProperties(withType(withLimits(withTuple(schema))));
  for (const keyword of INNER.one) {
    const inner = result[keyword];
    if (isObject(inner)) result[keyword] = mended(inner);
  }
  for (const keyword of INNER.list) {
    const inner = result[keyword];
    if (Array.isArray(inner)) result[keyword] = inner.map((item) => (isObject(item) ? mended(item) : item));
  }
  for (const keyword of INNER.table) {
    const inner = result[keyword];
    if (isObject(inner)) {
      const entries = Object.entries(inner).map(([name, item]) => [name, propertyOf(item)]);
      result[keyword] = Object.fromEntries(entries);
    }
  }
  for (const keyword of ["required", "enum"]) {
    const list = result[keyword];
    if (Array.isArray(list)) result[keyword] = distinct(list);
  }
  if (result["required"] === null) delete result["required"];
  return result;
}

/** A table of `items` is the older form of `prefixItems`. */
function withTuple(schema: JsonObject): JsonObject {
  const { items, additionalItems, ...rest } = schema;
  if (!Array.isArray(items)) return { ...schema };
  return {
    ...rest,
    prefixItems: items,
    ...(additionalItems !== undefined && { items: additionalItems }),
  };
}

/** `exclusiveMinimum: true` beside a minimum is the older form of `exclusiveMinimum: <minimum>`. */
function withLimits(schema: JsonObject): JsonObject {
  const result = { ...schema };
  for (const [limit, exclusive] of [
    ["minimum", "exclusiveMinimum"],
    ["maximum", "exclusiveMaximum"],
  ] as const) {
    const value = result[limit];
    if (typeof result[exclusive] !== "boolean") continue;
    if (result[exclusive] && value !== undefined) {
      result[exclusive] = value;
      delete result[limit];
    } else delete result[exclusive];
  }
  return result;
}

function withType(schema: JsonObject): JsonObject {
  const { type } = schema;
  const result = { ...schema };
  if (typeof type === "string") result["type"] = type.toLowerCase();
  else if (Array.isArray(type)) {
    result["type"] = type.map((one) => (typeof one === "string" ? one.toLowerCase() : one));
  } else if (type === undefined || type === null) {
    const implied = impliedType(schema);
    if (implied === null) delete result["type"];
    else result["type"] = implied;
  }
  const isTuple = result["prefixItems"] !== undefined;
  if (result["type"] === "array" && result["items"] === undefined && !isTuple) result["items"] = {};
  return result;
}

/** The type that a schema without one can only mean. */
function impliedType(schema: JsonObject): string | null {
  if (isObject(schema["properties"])) return "object";
  if (schema["items"] !== undefined || schema["prefixItems"] !== undefined) return "array";
  const choices = schema["enum"];
  const isOfTexts =
    Array.isArray(choices) && choices.length > 0 && choices.every((c) => typeof c === "string");
  return isOfTexts ? "string" : null;
}

/** `required: true` at a property is the older form of its name in the object's `required`. */
function withProperties(schema: JsonObject): JsonObject {
  const { properties } = schema;
  if (!isObject(properties)) return schema;
  const marked = Object.entries(properties).flatMap(([name, inner]) =>
    isObject(inner) && inner["required"] === true ? [name] : [],
  );
  const listed = Array.isArray(schema["required"]) ? schema["required"] : [];
  return marked.length === 0 ? schema : { ...schema, required: [...listed, ...marked] };
}

function propertyOf(schema: Json): Json {
  if (!isObject(schema)) return schema === true || schema === null ? {} : schema;
  if (typeof schema["required"] !== "boolean") return mended(schema);
  const { required: _, ...rest } = schema;
  return mended(rest);
}

function distinct(values: readonly Json[]): Json[] {
  const seen = new Set<string>();
  return values.filter((value) => {
    const text = JSON.stringify(value);
    return seen.has(text) ? false : seen.add(text);
  });
}
