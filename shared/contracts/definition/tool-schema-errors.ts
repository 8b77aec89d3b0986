import { suggestions } from "../../text/nearest-name.ts";
import { isObject } from "../json.ts";
import { INNER, JSON_TYPES, targetOf } from "./tool-schema.ts";
import type { FieldError } from "../../errors.ts";
import type { Suggest } from "../../text/nearest-name.ts";
import type { Json, JsonObject } from "../json.ts";

/** Anthropic's rule; the other providers take these names too. */
const ARGUMENT_NAME = /^[A-Za-z0-9_.-]{1,64}$/;
/** Names of types in other languages, as they are written by mistake. */
const OTHER_TYPES: { [name: string]: string } = {
  str: "string",
  text: "string",
  int: "integer",
  long: "integer",
  float: "number",
  double: "number",
  decimal: "number",
  bool: "boolean",
  list: "array",
  dict: "object",
  map: "object",
  none: "null",
};
/** OpenAI and Anthropic refuse a request whose tool has one of these beside the arguments. */
const NOT_AT_THE_TOP = ["anyOf", "oneOf", "allOf", "not", "enum", "const", "if"];
const MAX_ERRORS = 20;

/** What a keyword's value must be: providers check a tool's schema by JSON Schema 2020-12. */
const FORMS: { [form: string]: { is(value: Json): boolean; keywords: readonly string[] } } = {
  "a text": {
    is: (v) => typeof v === "string",
    keywords: ["description", "title", "pattern", "format", "$ref"],
  },
  "a number": {
    is: (v) => typeof v === "number",
    keywords: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
  },
  "a whole number": {
    is: (v) => typeof v === "number" && Number.isInteger(v) && v >= 0,
    keywords: ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"],
  },
  "true or false": { is: (v) => typeof v === "boolean", keywords: ["uniqueItems", "nullable"] },
  "a list with at least one value": { is: (v) => Array.isArray(v) && v.length > 0, keywords: ["enum"] },
  "a list of names": {
    is: (v) => Array.isArray(v) && v.every((name) => typeof name === "string"),
    keywords: ["required"],
  },
  "a list with at least one schema": { is: (v) => Array.isArray(v) && v.length > 0, keywords: INNER.list },
  "an object with a schema for each name": { is: isObject, keywords: INNER.table },
};

/**
 * What providers refuse in a tool's `inputSchema`, after what can be mended has been mended: each run with the tool would
 * fail with `model_bad_request`. Paths begin with `inputSchema`.
 */
export function toolSchemaErrors(schema: JsonObject): FieldError[] {
  const at = "inputSchema";
  return [...topErrors(schema, at), ...schemaErrors(schema, at)].slice(0, MAX_ERRORS);
}

/** What is wrong in a schema wherever it stands. Paths begin with `at`. */
export function schemaErrors(schema: JsonObject, at: string): FieldError[] {
  const errors: FieldError[] = [];
  check(schema, at, { root: schema, suggest: suggestions(), resolved: new Set(), errors });
  return errors.slice(0, MAX_ERRORS);
}

/** What providers refuse at the top of a tool's schema alone. */
export function topErrors(schema: JsonObject, at: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const keyword of NOT_AT_THE_TOP.filter((name) => Object.hasOwn(schema, name))) {
    const message = "cannot stand at the top of a tool's schema: providers refuse it. Put it into a property";
    errors.push({ path: `${at}.${keyword}`, message });
  }
  const { properties } = schema;
  for (const name of isObject(properties) ? Object.keys(properties) : []) {
    if (ARGUMENT_NAME.test(name)) continue;
    const message = "the name of an argument must be 1 to 64 letters, digits, _ . or -";
    errors.push({ path: `${at}.properties.${name}`, message });
  }
  return errors;
}

/** `resolved`: the references that lead to a schema. Each chain of them is followed once, from wherever it is named. */
type Checked = { root: JsonObject; suggest: Suggest; resolved: Set<string>; errors: FieldError[] };

function check(schema: JsonObject, path: string, checked: Checked): void {
  const { errors } = checked;
  if (errors.length >= MAX_ERRORS) return;
  for (const [form, { is, keywords }] of Object.entries(FORMS)) {
    for (const keyword of keywords) {
      const value = schema[keyword];
      if (value !== undefined && !is(value))
        errors.push({ path: `${path}.${keyword}`, message: `must be ${form}` });
    }
  }
  checkType(schema["type"], `${path}.type`, errors);
  checkRef(schema, `${path}.$ref`, checked);
  checkRequired(schema, path, checked);
  for (const [inner, at] of innerSchemas(schema, path)) {
    if (isObject(inner)) check(inner, at, checked);
    else if (typeof inner !== "boolean" || at.startsWith(`${path}.properties.`)) {
      errors.push({ path: at, message: 'must be a schema, such as {"type": "string"}' });
    }
  }
}

/** The schemas directly inside of a schema, with their paths. */
export function innerSchemas(schema: JsonObject, path: string): [Json, string][] {
  const found: [Json, string][] = [];
  for (const keyword of INNER.one) {
    const value = schema[keyword];
    if (value !== undefined) found.push([value, `${path}.${keyword}`]);
  }
  for (const keyword of INNER.list) {
    const value = schema[keyword];
    if (Array.isArray(value))
      found.push(...value.map((v, i): [Json, string] => [v, `${path}.${keyword}[${i}]`]));
  }
  for (const keyword of INNER.table) {
    const value = schema[keyword];
    if (!isObject(value)) continue;
    found.push(
      ...Object.entries(value).map(([name, v]): [Json, string] => [v, `${path}.${keyword}.${name}`]),
    );
  }
  return found;
}

function checkType(type: Json | undefined, path: string, errors: FieldError[]): void {
  if (type === undefined) return;
  const types = Array.isArray(type) ? type : [type];
  for (const one of types) {
    if (typeof one === "string" && JSON_TYPES.includes(one)) continue;
    const known = typeof one === "string" && Object.hasOwn(OTHER_TYPES, one) ? OTHER_TYPES[one] : undefined;
    const hint = known === undefined ? `the types are ${JSON_TYPES.join(", ")}` : `did you mean "${known}"?`;
    errors.push({ path, message: `${JSON.stringify(one).slice(0, 50)} is no type of JSON Schema: ${hint}` });
  }
}

/** Reports a reference that leads to no schema, or only to other references in a circle. */
function checkRef({ $ref }: JsonObject, path: string, { root, resolved, errors }: Checked): void {
  const seen = new Set<string>();
  for (let ref: Json | undefined = $ref; typeof ref === "string" && !resolved.has(ref);) {
    const target = targetOf(root, ref);
    if (target === undefined) {
      errors.push({
        path,
        message: `leads nowhere: ${JSON.stringify(ref)} must be a part of this schema, as #/$defs/name`,
      });
      return;
    }
    if (seen.has(ref)) {
      errors.push({ path, message: "leads to itself: nothing says what the value is" });
      return;
    }
    seen.add(ref);
    ref = isObject(target) ? target["$ref"] : undefined;
  }
  for (const ref of seen) resolved.add(ref);
}

/** Google refuses a required name without a property; with the others it is a misspelling. */
function checkRequired(schema: JsonObject, path: string, { errors, suggest }: Checked): void {
  const { properties, required } = schema;
  if (!isObject(properties) || !Array.isArray(required)) return;
  for (const [i, name] of required.entries()) {
    if (typeof name !== "string" || Object.hasOwn(properties, name)) continue;
    const message = `"${name}" is none of the properties${suggest(name, Object.keys(properties))}`;
    errors.push({ path: `${path}.required[${i}]`, message });
    if (errors.length >= MAX_ERRORS) return;
  }
}
