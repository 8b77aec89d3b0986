import type { FormField } from "../../shared/contracts/definition/human.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";
import { ToolRejection } from "./step-errors.ts";
import type { McpAnswer } from "./mcp-pending.ts";

const MAX_FIELDS = 50;
/** The field in which a person may refuse to answer. No server's field has this key, because its own come first. */
const ACTION = "mcp_action";

const FORMATS: { [format: string]: string } = {
  email: "email",
  uri: "uri",
  date: "date",
  "date-time": "datetime",
};

/**
 * The form for a question that an MCP server asks: the fields of the schema of its answer, and one for a refusal. The schema is an object
 * with fields of primitive types and choices ("elicitation" in the Model Context Protocol).
 * @throws ToolRejection `mcp_input_required` for a schema that is no form
 */
export function formOf(schema: JsonObject): FormField[] {
  const { properties = {}, required } = schema;
  const names = isObject(properties) ? Object.entries(properties) : [];
  if (names.length > MAX_FIELDS) throw noForm(`it has ${names.length} fields, and may have ${MAX_FIELDS}`);
  const demanded = new Set(Array.isArray(required) ? required : []);
  const fields = names.map(([key, property]) => fieldOf(key, property, demanded.has(key)));
  if (fields.some(({ key }) => key === ACTION || key === "__proto__"))
    throw noForm(`a field must not have the name ${ACTION} or __proto__`);
  const action: FormField = {
    key: ACTION,
    label: "Answer, or refuse to",
    type: "accept_or_decline",
    options: ["accept", "decline"],
    required: false,
    default: "accept",
  };
  return [...fields, action];
}

/** The answer of a form of `formOf` as the server gets it. A field that was left empty is left out; without fields there is no content. */
export function answerOf(schema: JsonObject, answer: Json): McpAnswer {
  if (!isObject(answer)) return { action: "cancel" };
  if (answer[ACTION] === "decline") return { action: "decline" };
  const { properties } = schema;
  if (properties === undefined) return { action: "accept" };
  const names = isObject(properties) ? Object.keys(properties) : [];
  const filledIn = names.flatMap((name): [string, Json][] => {
    const value = answer[name];
    return value === undefined || value === null || value === "" ? [] : [[name, value]];
  });
  return { action: "accept", content: Object.fromEntries(filledIn) };
}

function fieldOf(key: string, property: Json, required: boolean): FormField {
  if (!isObject(property)) throw noForm(`the field ${key} has no schema`);
  const { title, description, minItems } = property;
  const mayBeEmpty = property["type"] === "array" && !(typeof minItems === "number" && minItems > 0);
  // A form's required choice has one item at least, a schema's required list may be empty.
  const value = property["default"] ?? (required && mayBeEmpty ? [] : undefined);
  return {
    key,
    label: typeof title === "string" ? title : key,
    ...typed(key, property),
    required: required && !mayBeEmpty,
    ...(typeof description === "string" && { description }),
    ...(value !== undefined && { default: value }),
  };
}

function typed(
  key: string,
  property: JsonObject,
): Pick<FormField, "type" | "options"> & { min?: number; max?: number } {
  const { type, format, minLength, maxLength, minimum, maximum, items, minItems, maxItems } = property;
  const choices = choicesOf(property);
  if (choices !== null) return { type: "select", options: choices };
  switch (type) {
    case "string": {
      const ofFormat = typeof format === "string" ? FORMATS[format] : undefined;
      return { type: ofFormat ?? "text", options: null, ...between(minLength, maxLength) };
    }
    case "number":
    case "integer":
      return { type, options: null, ...between(minimum, maximum) };
    case "boolean":
      return { type, options: null };
    case "array": {
      const options = isObject(items) ? choicesOf(items) : null;
      if (options !== null) return { type: "multiselect", options, ...between(minItems, maxItems) };
      break;
    }
    default:
  }
  throw noForm(`the field ${key} has no type that a form can have`);
}

/** The values of an `enum`, or of `oneOf` and `anyOf` whose choices have titles. */
function choicesOf({ enum: values, oneOf, anyOf }: JsonObject): string[] | null {
  const titled = Array.isArray(oneOf) ? oneOf : Array.isArray(anyOf) ? anyOf : null;
  const all = Array.isArray(values)
    ? values
    : (titled?.map((choice) => (isObject(choice) ? (choice["const"] ?? null) : null)) ?? null);
  if (all === null) return null;
  return all.every((value) => typeof value === "string") ? all : null;
}

function between(min: Json | undefined, max: Json | undefined): { min?: number; max?: number } {
  return { ...(typeof min === "number" && { min }), ...(typeof max === "number" && { max }) };
}

function noForm(why: string): ToolRejection {
  return new ToolRejection(`the server asks for input of a person that no form can have: ${why}`, {
    code: "mcp_input_required",
  });
}
