import { isNode } from "./code-nodes.ts";

/** The texts that functions make of true, false and null: `str` as in Python, `String` as in JavaScript. By each text of the other one. */
const WORDS: ReadonlyMap<string, ReadonlyMap<string, string>> = new Map([
  ["str", new Map(Object.entries({ true: "True", false: "False", null: "None" }))],
  ["String", new Map(Object.entries({ True: "true", False: "false", None: "null" }))],
]);

/**
 * What is wrong with a comparison of a value with a text: the value is a call such as `str(x)`, which does not make this text of true, false
 * or null. Null: nothing is.
 * @param defined the names that the program itself defines: its own `str` makes other texts
 */
export function wrongWord(value: unknown, text: unknown, defined?: ReadonlySet<string>): string | null {
  if (!isNode(value) || value.type !== "CallExpression" || !isNode(value["callee"])) return null;
  const name = String(value["callee"]["name"]);
  if (typeof text !== "string" || defined?.has(name)) return null;
  const right = WORDS.get(name)?.get(text);
  if (right === undefined) return null;
  const meant = name === "str" ? text : right;
  return `${name}() makes "${right}" of ${meant}, and "${text}" of the text "${text}" alone`;
}
