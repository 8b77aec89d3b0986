import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import { targetOf } from "../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { textOf, without } from "./json-fields.ts";

const TYPES = ["object", "array", "string", "integer", "number", "boolean"];
/** Deeper schemas, and those that contain themselves, end here. */
const MAX_DEPTH = 8;
/** So many references are followed, because a few definitions that name each other several times become millions of schemas. */
const MAX_REFERENCES = 200;
/** The characters of what a plain schema leaves out that its description quotes. */
const MAX_QUOTED_CHARS = 500;
const CHOICES = ["anyOf", "oneOf", "allOf"];
/** The keywords that a plain schema has, and those that say nothing about a value. */
const KEPT = new Set([
  "description",
  "properties",
  "required",
  "items",
  "title",
  "default",
  "examples",
  "$defs",
]);

/**
 * A schema in the keywords that every provider takes: one type, descriptions, properties, items, and texts to choose from. Its
 * descriptions quote what it leaves out, so that the model still reads that. The worker holds the arguments against the whole schema.
 */
export function plainSchema(schema: JsonObject): JsonObject {
  return plain(schema, { root: schema, left: MAX_REFERENCES }, 0);
}

/** The schema to which references point, and how many are still followed. */
type References = { root: JsonObject; left: number };

function plain(schema: Json, references: References, depth: number): JsonObject {
  const own = isObject(schema) ? chosen(schema, references) : {};
  const type = typeOf(own);
  const described = descriptionOf(own, type, depth);
  if (type === "object") {
    const inner = depth < MAX_DEPTH ? Object.entries(objectOf(own["properties"])) : [];
    const properties = inner.map(([name, each]) => [name, plain(each, references, depth + 1)]);
    const names = new Set(inner.map(([name]) => name));
    const required = listOf(own["required"]).filter((name) => typeof name === "string" && names.has(name));
    return {
      type,
      ...described,
      properties: Object.fromEntries(properties),
      ...(required.length > 0 ? { required } : {}),
    };
  }
  if (type === "array") {
    const items = depth < MAX_DEPTH ? (own["items"] ?? listOf(own["prefixItems"])[0] ?? {}) : {};
    return { type, ...described, items: plain(items, references, depth + 1) };
  }
  const texts = type === "string" ? listOf(own["enum"]).filter((each) => textOf(each) !== undefined) : [];
  return { type, ...described, ...(texts.length > 0 ? { enum: texts } : {}) };
}

/** A schema with what its reference names, or with the first of its choices that is not null. */
function chosen(schema: JsonObject, references: References, depth = 0): JsonObject {
  const { $ref, ...rest } = schema;
  if (depth === MAX_DEPTH) return {};
  if (typeof $ref === "string") {
    const target = references.left > 0 ? objectOf(targetOf(references.root, $ref)) : {};
    references.left -= 1;
    return chosen({ ...target, ...rest }, references, depth + 1);
  }
  if (singleType(schema) !== undefined) return schema;
  const choices = CHOICES.flatMap((name) => listOf(schema[name])).filter(isObject);
  const [first, ...others] = choices.filter((each) => each["type"] !== "null");
  if (first === undefined) return schema;
  const outer = others.length === 0 ? without(schema, ...CHOICES) : schema;
  return { ...chosen(first, references, depth + 1), ...outer };
}

function singleType({ type }: JsonObject): string | undefined {
  return listOf(Array.isArray(type) ? type : [type ?? null])
    .map(String)
    .find((each) => TYPES.includes(each));
}

function typeOf(schema: JsonObject): string {
  const implied = isObject(schema["properties"])
    ? "object"
    : schema["items"] !== undefined
      ? "array"
      : undefined;
  const [value = schema["const"]] = listOf(schema["enum"]);
  const ofValue = Number.isInteger(value) ? "integer" : typeof value;
  return (
    singleType(schema) ?? implied ?? (TYPES.includes(ofValue) && ofValue !== "object" ? ofValue : "string")
  );
}

function descriptionOf(schema: JsonObject, type: string, depth: number): { description?: string } {
  const isLeftOut = ([name, value]: [string, Json]): boolean =>
    name === "type" ? Array.isArray(value) : !KEPT.has(name) && !(name === "enum" && isOfTexts(value));
  const left = depth === 0 ? [] : Object.entries(schema).filter(isLeftOut);
  const quoted = JSON.stringify(Object.fromEntries(left));
  const isAny = Object.keys(schema).length === 0 && depth > 0 && type === "string";
  const parts = [
    textOf(schema["description"]),
    isAny ? "Any JSON value" : undefined,
    left.length > 0 && quoted.length <= MAX_QUOTED_CHARS ? `JSON Schema: ${quoted}` : undefined,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? {} : { description: parts.join(" ") };
}

function isOfTexts(values: Json): boolean {
  return listOf(values).every((each) => textOf(each) !== undefined);
}
