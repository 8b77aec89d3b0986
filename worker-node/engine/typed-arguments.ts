import { targetOf } from "../../shared/contracts/definition/index.ts";
import { isObject, listOf } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { parseJson } from "./parse-json.ts";
import { hasType } from "./schema-faults.ts";

/** The most schemas that one value may have, behind references and choices. A schema may refer to itself. */
const MAX_FORMS = 32;

/**
 * Arguments in the types of the tool's schema, where a model has written a value in another type and its meaning is plain: an object or a
 * list as JSON text, a number or a boolean as text, and an integer where the tool takes a text. Models of all sizes make
 * this mistake, and many repeat it after an error that names it. Any other value stays as it is.
 */
export function typedArguments(args: JsonObject, schema: JsonObject): JsonObject {
  return typedObject(args, schema, schema);
}

function typedObject(value: JsonObject, schema: JsonObject, root: JsonObject): JsonObject {
  const { properties, additionalProperties: others } = schema;
  const known = isObject(properties) ? properties : {};
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      typed(inner, Object.hasOwn(known, name) ? known[name] : others, root),
    ]),
  );
}

function typed(value: Json, schema: Json | undefined, root: JsonObject): Json {
  const forms = formsOf(schema, root);
  const own = forms.find((form) => typesOf(form).some((type) => hasType(value, type)));
  if (own !== undefined) return inside(value, own, root);
  // A form without a type takes any value.
  if (forms.some((form) => typesOf(form).length === 0)) return value;
  for (const form of forms) {
    const read = typesOf(form)
      .map((type) => readAs(value, type))
      .find((each) => each !== undefined);
    if (read !== undefined) return inside(read, form, root);
  }
  return value;
}

/** The value with what it holds in the types of the schema. */
function inside(value: Json, schema: JsonObject, root: JsonObject): Json {
  if (Array.isArray(value)) return value.map((item) => typed(item, schema["items"], root));
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

/** The schemas of which a value may fit any: the schema itself, behind its reference, or its choices. */
function formsOf(schema: Json | undefined, root: JsonObject): JsonObject[] {
  const forms: JsonObject[] = [];
  const open = [schema];
  for (let looks = 0; open.length > 0 && looks < MAX_FORMS; looks++) {
    const next = open.shift();
    if (!isObject(next)) continue;
    const { $ref, anyOf, oneOf } = next;
    const choices = [...listOf(anyOf), ...listOf(oneOf)];
    if (typeof $ref === "string") open.push(targetOf(root, $ref));
    else if (choices.length > 0) open.push(...choices);
    else forms.push(next);
  }
  return forms;
}

function typesOf({ type, nullable }: JsonObject): string[] {
  const types = [type ?? []].flat().filter((each) => typeof each === "string");
  return nullable === true && types.length > 0 ? [...types, "null"] : types;
}
