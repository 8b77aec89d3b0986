import { targetOf } from "../../shared/contracts/definition/index.ts";
import { isObject, listOf } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { parseJson } from "./parse-json.ts";
import { hasType, typesIn } from "./schema-faults.ts";

/** The most schemas that one value may have, behind references and choices. A schema may refer to itself. */
const MAX_FORMS = 32;

/**
 * Arguments in the types of the tool's schema, where a model has written a value in another type and its meaning is plain: an object or a
 * list as JSON text, a number or a boolean as text, and an integer where the tool takes a text. Models of all sizes do so, and many repeat
 * it when they are told. Any other value stays as it is; so does what an object holds, where the schema has several forms of this object.
 */
export function typedArguments(args: JsonObject, schema: JsonObject): JsonObject {
  return typedObject(args, schema, schema);
}

/** A value in the types of a schema, as `typedArguments` reads those of arguments. */
export function typedValue(value: Json, schema: JsonObject): Json {
  return typed(value, schema, schema);
}

function typedObject(value: JsonObject, schema: JsonObject, root: JsonObject): JsonObject {
  const { properties, additionalProperties, patternProperties } = schema;
  const known = isObject(properties) ? properties : {};
  const others = patternProperties === undefined ? additionalProperties : undefined;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      typed(inner, Object.hasOwn(known, name) ? known[name] : others, root),
    ]),
  );
}

function typed(value: Json, schema: Json | undefined, root: JsonObject): Json {
  const forms = formsOf(schema, root);
  // A form without a type takes any value.
  if (forms.some((form) => typesOf(form).length === 0)) return value;
  const ofType = forms.filter((form) => typesOf(form).some((type) => hasType(value, type)));
  if (ofType.length > 0) {
    const [own = {}, ...others] = ofType.length === 1 ? ofType : ofType.filter((form) => names(value, form));
    return others.length === 0 ? inside(value, own, root) : value;
  }
  const read = forms
    .flatMap(typesOf)
    .map((type) => readAs(value, type))
    .find((each) => each !== undefined);
  // A text is read once only: the value that is read from it is no text.
  return read === undefined ? value : typed(read, schema, root);
}

/** Whether a value fits the fields that tell this form from others, such as `kind`: those with a list of allowed values. */
function names(value: Json, { properties }: JsonObject): boolean {
  if (!isObject(value) || !isObject(properties)) return true;
  return Object.keys(value).every((name) => {
    const inner = Object.hasOwn(properties, name) ? properties[name] : undefined;
    if (!isObject(inner)) return true;
    const { const: only, enum: choices = only === undefined ? null : [only] } = inner;
    return !Array.isArray(choices) || choices.includes(value[name] ?? null);
  });
}

/** The value with what it holds in the types of the schema. */
function inside(value: Json, schema: JsonObject, root: JsonObject): Json {
  const { items } = schema;
  const prefix = listOf(schema["prefixItems"]);
  if (Array.isArray(value))
    return value.map((item, i) => typed(item, i < prefix.length ? prefix[i] : items, root));
  return isObject(value) ? typedObject(value, schema, root) : value;
}

/** What a value of another type means in this type; undefined: its meaning is not plain. */
function readAs(value: Json, type: string): Json | undefined {
  if (type === "string") return Number.isSafeInteger(value) ? JSON.stringify(value) : undefined;
  if (typeof value !== "string") return undefined;
  const text = value.trim();
  if (type === "boolean") return /^(?:true|false)$/i.test(text) ? text.toLowerCase() === "true" : undefined;
  const isWritten =
    type === "object" || type === "array"
      ? /^[[{]/.test(text)
      : (type === "integer" || type === "number") && /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(text);
  if (!isWritten) return undefined;
  const read = parseJson(text);
  return read !== undefined && hasType(read, type) ? read : undefined;
}

/**
 * The schemas of which a value may fit any: the schema itself, behind its reference, or its choices. What is no object, or has too many
 * choices, is a form without a type.
 */
function formsOf(schema: Json | undefined, root: JsonObject): JsonObject[] {
  const forms: JsonObject[] = [];
  const open = [schema];
  for (let looks = 0; open.length > 0; looks++) {
    const next = open.shift();
    if (!isObject(next) || looks === MAX_FORMS) return [{}];
    const { $ref, anyOf, oneOf } = next;
    const choices = listOf(anyOf).length + listOf(oneOf).length;
    if (looks + open.length + choices >= MAX_FORMS) return [{}];
    if (typeof $ref === "string") open.push(targetOf(root, $ref));
    else if (choices > 0) open.push(...listOf(anyOf), ...listOf(oneOf));
    else forms.push(next);
  }
  return forms;
}

function typesOf(schema: JsonObject): readonly string[] {
  const types = typesIn(schema);
  return schema["nullable"] === true && types.length > 0 ? [...types, "null"] : types;
}
