import { isNode } from "./code-nodes.ts";

/** The texts that functions make of true, false and null: `str` as in Python, `String` as in JavaScript. By each text of the other one. */
const WORDS: ReadonlyMap<string, ReadonlyMap<string, string>> = new Map([
  ["str", new Map(Object.entries({ true: "True", false: "False", null: "None" }))],
  ["String", new Map(Object.entries({ True: "true", False: "false", None: "null" }))],
]);

/**
 * What is wrong with a comparison of a value with a text: the value is a call such as `str(x)`, which never makes this text of true, false
 * or null. Null: nothing is.
 */
export function wrongWord(value: unknown, text: unknown): string | null {
  if (!isNode(value) || value.type !== "CallExpression" || !isNode(value["callee"])) return null;
  const name = String(value["callee"]["name"]);
  const right = WORDS.get(name)?.get(String(text));
  return right === undefined ? null : `${name}() makes "${right}" of that value, and never "${String(text)}"`;
}
