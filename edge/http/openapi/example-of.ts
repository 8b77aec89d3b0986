/**
 * The examples of the API's document, made from its schemas: a new field has an example at once, and no example disagrees with its
 * schema.
 */
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { isObject, listOf } from "../../../shared/contracts/json.ts";
import { ANY, COMPONENTS, FIELDS, TEXTS } from "./example-values.ts";

/**
 * The place in the document for which an example is made. `name`: the field or parameter there. `open`: the components around it; an
 * optional field that refers to one of them is left out, so that the example has an end.
 */
type Place = { schemas: JsonObject; name: string; open: readonly string[] };

/**
 * An example for a schema of the document.
 * @param name the field or parameter: fields with the same name have the same example everywhere, where their schemas allow it
 * @throws Error for a text with a pattern that no example matches: add one to example-values.ts
 */
export function exampleOf(schema: Json | undefined, schemas: JsonObject, name: string): Json {
  return make(schema, { schemas, name, open: [] });
}

/** The name of the component that a schema refers to; null: it is no reference. */
export function referredName(schema: Json | undefined): string | null {
  const ref = isObject(schema) ? schema["$ref"] : undefined;
  return typeof ref === "string" ? ref.slice(ref.lastIndexOf("/") + 1) : null;
}

/**
 * Whether a value has a field `$ref`, as references to large values and files have. Generators of clients (orval, hey-api) read it as a
 * reference of the document itself, to a file, wherever it is: the document can have no such example.
 */
export function hasReference(value: Json | undefined): boolean {
  if (Array.isArray(value)) return value.some(hasReference);
  return isObject(value) && ("$ref" in value || Object.values(value).some(hasReference));
}

function make(schema: Json | undefined, place: Place): Json {
  if (!isObject(schema)) return null;
  const component = referredName(schema);
  if (component !== null) return ofComponent(component, place);
  if (schema["const"] !== undefined) return schema["const"];
  const [written] = listOf(schema["examples"]);
  if (written !== undefined) return written;
  const branches = [...listOf(schema["anyOf"]), ...listOf(schema["oneOf"])];
  const branch = branches.find((each) => !isObject(each) || each["type"] !== "null");
  if (branch !== undefined) return make(branch, place);
  const known = (FIELDS[place.name] ?? []).find((value) => fits(value, schema));
  if (known !== undefined) return known;
  const [allowed] = listOf(schema["enum"]);
  if (allowed !== undefined) return allowed;
  const parts = listOf(schema["allOf"]);
  if (parts.length > 0) return joined(parts.map((part) => make(part, place)));
  return ofType(schema, place);
}

/** One example from the examples of all parts. Objects are merged; of other values the first is taken. */
function joined([first = null, ...others]: Json[]): Json {
  return others.reduce((all, part) => (isObject(all) && isObject(part) ? { ...all, ...part } : all), first);
}

/** The examples of components, each made once for a document. */
const made = new WeakMap<JsonObject, Map<string, Json>>();

function ofComponent(component: string, place: Place): Json {
  const written = COMPONENTS[component];
  if (written !== undefined) return written;
  const known = made.get(place.schemas)?.get(component);
  if (known !== undefined) return known;
  const example = make(place.schemas[component], { ...place, open: [...place.open, component] });
  if (!made.has(place.schemas)) made.set(place.schemas, new Map());
  made.get(place.schemas)?.set(component, example);
  return example;
}

function ofType(schema: JsonObject, place: Place): Json {
  switch (typesOf(schema)[0]) {
    case "object":
      return ofObject(schema, place);
    case "array":
      return [make(schema["items"], place)].filter((item) => !hasReference(item));
    case "string":
      return ofText(schema, place.name);
    case "integer":
    case "number":
      return numberOf(schema);
    case "boolean":
      return schema["default"] ?? false;
    case "null":
      return null;
    default:
      return ANY;
  }
}

function ofObject(schema: JsonObject, place: Place): JsonObject {
  const properties = isObject(schema["properties"]) ? schema["properties"] : {};
  const required = listOf(schema["required"]);
  const shown = Object.entries(properties).filter(
    ([name, property]) => required.includes(name) || !place.open.includes(referredName(property) ?? ""),
  );
  return Object.fromEntries(shown.map(([name, property]) => [name, make(property, { ...place, name })]));
}

function ofText(schema: JsonObject, name: string): string {
  const text = TEXTS.find((value) => fits(value, schema));
  if (text === undefined) throw new Error(`no example fits ${name}: ${JSON.stringify(schema)}`);
  return text;
}

function numberOf(schema: JsonObject): number {
  const { minimum = 0, exclusiveMinimum } = schema;
  if (typeof schema["default"] === "number") return schema["default"];
  return typeof exclusiveMinimum === "number" ? exclusiveMinimum + 1 : Number(minimum);
}

/** Whether a value is valid: for texts and numbers exactly; an object or a list fits where the schema describes no fields or items. */
function fits(value: Json, schema: JsonObject): boolean {
  const types = typesOf(schema);
  if (
    types.length > 0 &&
    !types.includes(typeOf(value)) &&
    !(types.includes("number") && typeOf(value) === "integer")
  )
    return false;
  const allowed = listOf(schema["enum"]);
  if (allowed.length > 0 && !allowed.includes(value)) return false;
  if (typeof value === "number")
    return value >= Number(schema["minimum"] ?? -Infinity) && value <= Number(schema["maximum"] ?? Infinity);
  if (typeof value !== "string")
    return !isObject(value) && !Array.isArray(value)
      ? true
      : schema["properties"] === undefined && schema["items"] === undefined;
  const { pattern, minLength = 0, format } = schema;
  if (value.length < Number(minLength)) return false;
  if (typeof pattern === "string" && !new RegExp(pattern, "u").test(value)) return false;
  return typeof format !== "string" || FORMATS[format]?.test(value) !== false;
}

const FORMATS: Record<string, RegExp> = {
  "date-time": /^\d{4}-\d\d-\d\dT[\d:.]+Z$/,
  date: /^\d{4}-\d\d-\d\d$/,
};

function typesOf(schema: JsonObject): Json[] {
  const { type } = schema;
  return type === undefined ? [] : Array.isArray(type) ? type : [type];
}

function typeOf(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}
