import type { Json, JsonObject } from "../json.ts";

/**
 * A tool's `inputSchema` as all providers take it, or why none takes it. Without a type or properties it gets them. What
 * providers refuse and what can only mean one thing is mended: types in capital letters, a list without `items`, and
 * `required: true` at a property.
 */
export function argumentSchemaOf(schema: JsonObject): { schema: JsonObject } | { error: string } {
  const type =
    typeof schema["type"] === "string" ? schema["type"].toLowerCase() : (schema["type"] ?? "object");
  if (type !== "object" && !(Array.isArray(type) && type.includes("object"))) {
    return { error: 'must have the type "object": a tool gets its arguments by name' };
  }
  const properties = schema["properties"] ?? {};
  if (!isObject(properties))
    return { error: "properties must be an object, with a schema for each argument" };
  const { required = null } = schema;
  if (required !== null && !(Array.isArray(required) && required.every((name) => typeof name === "string"))) {
    return { error: "required must be a list of names of arguments" };
  }
  return { schema: mended({ ...schema, type: "object", properties }) };
}

function mended(schema: JsonObject): JsonObject {
  const { type, properties, items } = schema;
  const mendedSchema: JsonObject = { ...schema };
  if (typeof type === "string") mendedSchema["type"] = type.toLowerCase();
  if (isObject(items)) mendedSchema["items"] = mended(items);
  else if (mendedSchema["type"] === "array" && items === undefined) mendedSchema["items"] = {};
  if (isObject(properties)) {
    const entries = Object.entries(properties);
    const marked = entries.flatMap(([name, inner]) =>
      isObject(inner) && inner["required"] === true ? [name] : [],
    );
    mendedSchema["properties"] = Object.fromEntries(
      entries.map(([name, inner]) => [name, propertyOf(inner)]),
    );
    const listed = Array.isArray(schema["required"]) ? schema["required"] : [];
    if (marked.length > 0) mendedSchema["required"] = [...new Set([...listed, ...marked])];
  }
  if (mendedSchema["required"] === null) delete mendedSchema["required"];
  return mendedSchema;
}

function propertyOf(schema: Json): Json {
  if (!isObject(schema)) return schema === true || schema === null ? {} : schema;
  if (typeof schema["required"] !== "boolean") return mended(schema);
  const { required: _, ...rest } = schema;
  return mended(rest);
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
