import { textOrJson } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/**
 * Arguments as the fields of a query or of a form. A list of plain values is a field for each of them, which is what OpenAPI means
 * unless it says otherwise; null is left out; any other value that is no text is its JSON.
 */
export function formFields(args: JsonObject): [string, string][] {
  return Object.entries(args).flatMap(([name, value]) =>
    textsOf(value).map((text): [string, string] => [name, text]),
  );
}

function textsOf(value: Json): string[] {
  if (value === null) return [];
  if (Array.isArray(value) && value.every((item) => typeof item !== "object" || item === null))
    return value.filter((item) => item !== null).map(textOrJson);
  return [textOrJson(value)];
}
