import { parseScript } from "../../shared/contracts/definition/code-nodes.ts";
import { stateKeysReadBy } from "../../shared/contracts/definition/state-keys.ts";

/** The most keys that are named. */
const MAX_NAMED = 5;
/** Longer keys are not named: code may have one of 64 KiB, and a key of a definition has at most this length. */
const MAX_KEY_CHARS = 100;

/** Keys with these come first, because most failures come from them. */
const EMPTY = ["absent", "null"];

/**
 * What state had under the keys that a script reads, in words and without the values: `state.order is absent, state.items is an empty
 * list`. Empty: the script names no key.
 * @param state a JSON text of an object
 */
export function stateInWords(script: string, state: string): string {
  const values = new Map<string, unknown>(Object.entries(JSON.parse(state)));
  const found = keysIn(script).map((key) => ({
    key,
    is: values.has(key) ? kindOf(values.get(key)) : "absent",
  }));
  const [first, rest] = [
    found.filter(({ is }) => EMPTY.includes(is)),
    found.filter(({ is }) => !EMPTY.includes(is)),
  ];
  return [...first, ...rest]
    .slice(0, MAX_NAMED)
    .map(({ key, is }) => `state.${key} is ${is}`)
    .join(", ");
}

function keysIn(script: string): string[] {
  try {
    const keys = [...stateKeysReadBy(parseScript(script))];
    return keys.filter((key) => key.length <= MAX_KEY_CHARS).toSorted();
  } catch (error) {
    // A version that was saved before code was checked.
    if (error instanceof SyntaxError || error instanceof RangeError) return [];
    throw error;
  }
}

function kindOf(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "string") return value === "" ? "an empty text" : "a text";
  if (typeof value === "number") return "a number";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}
