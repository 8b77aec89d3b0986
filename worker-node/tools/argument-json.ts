import { randomUUID } from "node:crypto";
import { isLongInteger } from "../../shared/contracts/long-integers.ts";
import { isObject } from "../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/**
 * Arguments as the JSON that the tool gets. The engine has an integer beyond 2^53 as a text of its digits; where the tool's
 * schema has a number and no text, the tool gets a number with these digits.
 */
export function argumentJson(args: JsonObject, schema: JsonObject): string {
  const plain = JSON.stringify(args);
  if (!/"-?[0-9]{16,}"/.test(plain)) return plain;
  // No text of a model or a tenant can hold a mark that is new.
  const mark = randomUUID();
  const marked = JSON.stringify(markNumbers(args, schema, mark));
  return marked.replaceAll(new RegExp(`"${mark}(-?[0-9]+)"`, "g"), "$1");
}

function markNumbers(value: Json, schema: Json | undefined, mark: string): Json {
  if (!isObject(schema)) return value;
  if (isLongInteger(value)) return isNumeric(schema) ? mark + value : value;
  if (Array.isArray(value)) return value.map((item) => markNumbers(item, schema["items"], mark));
  if (!isObject(value)) return value;
  const properties = isObject(schema["properties"]) ? schema["properties"] : {};
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      markNumbers(inner, Object.hasOwn(properties, name) ? properties[name] : undefined, mark),
    ]),
  );
}

function isNumeric({ type }: JsonObject): boolean {
  const types = [type].flat();
  return (types.includes("integer") || types.includes("number")) && !types.includes("string");
}
