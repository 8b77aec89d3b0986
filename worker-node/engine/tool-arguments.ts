import { JSON_TYPES, targetOf } from "../../shared/contracts/definition/index.ts";
import { jsonValuesIn } from "./json-values.ts";
import { isObject, listOf, objectOf } from "../../shared/contracts/json.ts";
import { mendedJson } from "./mended-json.ts";
import { parseJson } from "./parse-json.ts";
import { hasType, typeOf, typesIn } from "./schema-faults.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** The most errors of one call that the reply to the model lists. */
const MAX_ERRORS = 5;

/**
 * The most characters of a text in which slips are mended, or in which the object stands beside something else: that takes up to 0.4 s for
 * a million characters. A longer text is JSON as it is, or no arguments.
 */
const MAX_MENDED_CHARS = 100_000;

/**
 * The arguments of a call as an object. Models and gateways write "no arguments" as null, as an empty text or as an empty list. Some
 * send the object as JSON text, some as JSON text of that text, some with an empty object before it, a mark after it or a slip that has a
 * plain meaning. Integers
 * beyond 2^53 are texts of their digits. Null: these are no arguments.
 */
export function argumentsOf(args: Json): JsonObject | null {
  if (args === null) return {};
  if (typeof args === "string") return argumentsIn(args);
  if (Array.isArray(args)) return args.length === 0 ? {} : null;
  return typeof args === "object" ? args : null;
}

/**
 * The arguments that JSON in a text has for a tool. Models that cannot call tools write the arguments alone, or the whole call in the
 * form that they were trained with: `{"name": "lookup", "arguments": {…}}` or `{"lookup": {…}}`. The call may be the only item of a
 * list or of `tool_calls`. Null: the JSON has no arguments for this tool.
 */
export function argumentsInCall(written: Json, tool: string): JsonObject | null {
  const calls = Array.isArray(written) ? written : listOf(objectOf(written)["tool_calls"]);
  const [call, ...others] = calls;
  if (isObject(call) && others.length === 0 && nameIn(call) === tool) return argumentsInCall(call, tool);
  if (!isObject(written)) return null;
  const fn = isObject(written["function"]) ? written["function"] : written;
  const inner = ["arguments", "parameters", "args", "input"].find((field) => Object.hasOwn(fn, field));
  if (fn["name"] === tool && inner !== undefined) return argumentsOf(fn[inner] ?? null);
  const own = written[tool];
  return isObject(own) && Object.keys(written).length === 1 ? own : written;
}

function nameIn(call: JsonObject): Json | undefined {
  return isObject(call["function"]) ? call["function"]["name"] : call["name"];
}

function argumentsIn(text: string): JsonObject | null {
  if (/^(?:null|none|undefined)?$/i.test(text.trim())) return {};
  const mayMend = text.length <= MAX_MENDED_CHARS;
  const whole = parseJson(text) ?? (mayMend ? mendedJson(text) : undefined);
  if (whole === undefined) return mayMend ? theObjectIn(text) : null;
  if (typeof whole !== "string") return argumentsOf(whole);
  if (whole.trim() === "") return {};
  const inner = parseJson(whole);
  return inner === undefined || typeof inner === "string" ? null : argumentsOf(inner);
}

/**
 * The one object with content that a text begins with: `{}{"q":1}` (gateways before Bedrock), `{"q":1}{"q":1}` and
 * `{"q":1}</tool_call>`. Null when the text says anything else, such as two objects or one that was cut.
 */
function theObjectIn(text: string): JsonObject | null {
  const fenced = text.trim().replace(/^```\w*\s*/, "");
  const written = fenced.endsWith("```") ? fenced.slice(0, -3).trimEnd() : fenced;
  const ranges = jsonValuesIn(written);
  const between = ranges.map(({ from }, i) => written.slice(ranges[i - 1]?.to ?? 0, from));
  const rest = between.join("") + written.slice(ranges.at(-1)?.to ?? 0);
  if (ranges[0]?.from !== 0 || /[{[]/.test(rest)) return null;
  const values = ranges.map(({ from, to }) => parseJson(written.slice(from, to)));
  // A value that cannot be kept, such as 1e400, is not an absent one.
  if (values.includes(undefined)) return null;
  const [first, ...more] = values.filter((value) => !isObject(value) || Object.keys(value).length > 0);
  if (first === undefined) return {};
  return isObject(first) && more.every((value) => isSame(value ?? null, first)) ? first : null;
}

/**
 * What is wrong with the arguments by the tool's schema, as sentences for the model; none: the call can be made. The
 * keywords that models get wrong are checked: `type`, `required`, `properties`, `items`, `enum`, `const` and
 * `additionalProperties: false`, behind `$ref`, `anyOf`, `oneOf` and `allOf` too. Patterns are not checked: a tenant's pattern may take a
 * worker's time without end.
 */
export function argumentErrors(args: JsonObject, schema: JsonObject): string[] {
  const check = new ArgumentCheck(schema);
  check.look(args, schema, "");
  return check.isTooLong ? [] : check.errors.slice(0, MAX_ERRORS);
}

/** The names of required arguments that are absent. */
export function missingArguments(args: JsonObject, schema: JsonObject): string[] {
  return requiredBy(schema).filter((name) => !Object.hasOwn(args, name));
}

/**
 * The most values that a check looks at: a schema may refer to itself and divide at each level. After more it finds no error: the tool's
 * server checks too.
 */
const MAX_LOOKS = 20_000;
/** To compare so many characters, or to look for so many names, counts as one look. */
const CHARS_OF_LOOK = 100;
const NAMES_OF_LOOK = 100;
/** Nested schemas. A reference that leads to itself never ends. */
const MAX_DEPTH = 400;

class ArgumentCheck {
  readonly errors: string[] = [];
  readonly #root: JsonObject;
  #looks: number;

  #depth: number;

  constructor(root: JsonObject, { looks, depth } = { looks: 0, depth: 0 }) {
    this.#root = root;
    this.#looks = looks;
    this.#depth = depth;
  }

  get isTooLong(): boolean {
    return this.#looks > MAX_LOOKS || this.#depth > MAX_DEPTH;
  }

  look(value: Json, schema: Json | undefined, path: string): void {
    this.#looks += 1;
    if (!isObject(schema) || this.errors.length >= MAX_ERRORS || this.isTooLong) return;
    this.#depth += 1;
    this.#lookAt(value, schema, path);
    if (!this.isTooLong) this.#depth -= 1;
  }

  #lookAt(value: Json, schema: JsonObject, path: string): void {
    const { $ref } = schema;
    if (typeof $ref === "string") this.look(value, targetOf(this.#root, $ref), path);
    for (const form of listOf(schema["allOf"])) this.look(value, form, path);
    this.#lookAtForms(value, [listOf(schema["anyOf"]), listOf(schema["oneOf"])], path);
    const subject = path === "" ? "the arguments" : `the argument ${path}`;
    // A word that is no type of JSON Schema, such as `any`, refuses no value.
    const types = typesIn(schema);
    if (
      types.length > 0 &&
      !types.some((type) => !JSON_TYPES.includes(type) || hasType(value, type)) &&
      !(value === null && schema["nullable"] === true)
    ) {
      this.errors.push(`${subject} must be of type ${types.join(" or ")}, and is ${typeOf(value)}`);
      return;
    }
    const { choices } = rulesOf(schema);
    if (choices !== null && !this.#isOneOf(choices, value))
      this.errors.push(`${subject} must be one of ${choices.quoted}`);
    if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) this.look(item, schema["items"], `${path}[${i}]`);
    } else if (isObject(value)) this.#lookAtProperties(value, schema, path);
  }

  /** Lists and objects are compared as texts, which takes time where the value is large. */
  #isOneOf({ plain, nested }: Choices, value: Json): boolean {
    if (typeof value !== "object" || value === null) return plain.has(value);
    if (nested.size === 0) return false;
    const text = JSON.stringify(value);
    this.#looks += text.length / CHARS_OF_LOOK;
    return nested.has(text);
  }

  /** A value fits one of the forms, or has the errors of the form that it is nearest to. */
  #lookAtForms(value: Json, lists: readonly Json[][], path: string): void {
    let nearest: string[] | null = null;
    for (const forms of lists) {
      for (const form of forms) {
        const tried = new ArgumentCheck(this.#root, { looks: this.#looks, depth: this.#depth });
        tried.look(value, form, path);
        this.#looks = tried.#looks;
        if (tried.isTooLong) this.#depth = tried.#depth;
        if (tried.errors.length === 0) return;
        if (nearest === null || isNearer(tried.errors, nearest)) nearest = tried.errors;
      }
    }
    this.errors.push(...(nearest ?? []));
  }

  #lookAtProperties(value: JsonObject, schema: JsonObject, path: string): void {
    const at = (name: string): string => (path === "" ? name : `${path}.${name}`);
    const { required } = rulesOf(schema);
    this.#looks += required.size / NAMES_OF_LOOK;
    for (const name of required) {
      if (this.errors.length >= MAX_ERRORS) return;
      if (!Object.hasOwn(value, name)) this.errors.push(`the argument ${at(name)} is missing`);
    }
    const properties = isObject(schema["properties"]) ? schema["properties"] : {};
    for (const [name, inner] of Object.entries(value)) {
      if (this.errors.length >= MAX_ERRORS) return;
      if (Object.hasOwn(properties, name)) {
        const isOptional = !required.has(name);
        // Models write null for an optional argument that they do not use.
        if (inner !== null || !isOptional) this.look(inner, properties[name], at(name));
      } else if (schema["additionalProperties"] === false) {
        this.errors.push(`there is no argument ${at(name)}: they are ${listed(Object.keys(properties))}`);
      }
    }
  }
}

/** The errors of a form whose type fits say more than that another form has another type. */
function isNearer(errors: readonly string[], than: readonly string[]): boolean {
  const isOfType = (list: readonly string[]): boolean => / must be of type .*, and is /.test(list[0] ?? "");
  return isOfType(than) && !isOfType(errors);
}

/** The names of the arguments that a schema demands. */
export function requiredBy(schema: JsonObject): string[] {
  const { required } = schema;
  return Array.isArray(required) ? required.filter((name) => typeof name === "string") : [];
}

/** What a schema says of each value, in the form in which it is looked up: a list has thousands of values. */
type Rules = { required: ReadonlySet<string>; choices: Choices | null };
type Choices = { plain: ReadonlySet<Json>; nested: ReadonlySet<string>; quoted: string };

const known = new WeakMap<JsonObject, Rules>();

function rulesOf(schema: JsonObject): Rules {
  const rules = known.get(schema) ?? { required: new Set(requiredBy(schema)), choices: choicesOf(schema) };
  known.set(schema, rules);
  return rules;
}

function choicesOf(schema: JsonObject): Choices | null {
  const only = Object.hasOwn(schema, "const") ? [schema["const"] ?? null] : null;
  const choices = Array.isArray(schema["enum"]) ? schema["enum"] : only;
  if (choices === null) return null;
  const nested = choices.filter((choice) => typeof choice === "object" && choice !== null);
  return {
    plain: new Set(choices),
    nested: new Set(nested.map((choice) => JSON.stringify(choice))),
    quoted: JSON.stringify(choices).slice(0, 300),
  };
}

/** So many names are shown of a long list. */
const MAX_LISTED = 100;

function listed(names: readonly string[]): string {
  if (names.length <= MAX_LISTED) return names.join(", ") || "none";
  return `${names.slice(0, MAX_LISTED).join(", ")} and ${names.length - MAX_LISTED} more`;
}

function isSame(a: Json, b: Json): boolean {
  return (
    a === b || (typeof a === "object" && typeof b === "object" && JSON.stringify(a) === JSON.stringify(b))
  );
}
