import { Reference } from "../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../shared/contracts/json.ts";

/** The value at `path` inside `value`, loading references on the way; undefined where there is none. */
export async function lookUp(
  value: Json,
  path: readonly string[],
  load: (value: Json) => Promise<Json>,
): Promise<Json | undefined> {
  let at: Json | undefined = isReference(value) ? await load(value) : value;
  for (const part of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, part)) return undefined;
    const inner: Json | undefined = Array.isArray(at) ? at[Number(part)] : at[part];
    if (inner === undefined) return undefined;
    at = isReference(inner) ? await load(inner) : inner;
  }
  return at;
}

/** State with the values behind its references, for code that may read any of it. */
export async function loadAll(
  state: Readonly<JsonObject>,
  load: (value: Json) => Promise<Json>,
): Promise<JsonObject> {
  const entries = Object.entries(state).map(async ([key, value]): Promise<[string, Json]> => [
    key,
    isReference(value) ? await load(value) : value,
  ]);
  return Object.fromEntries(await Promise.all(entries));
}

function isReference(value: Json): boolean {
  return typeof value === "object" && value !== null && "$ref" in value && Reference.safeParse(value).success;
}

/** A value as text stands in a prompt or a template: text as it is, nothing for null, all else as JSON. */
export function asText(value: Json): string {
  if (typeof value === "string") return value;
  return value === null ? "" : JSON.stringify(value);
}
