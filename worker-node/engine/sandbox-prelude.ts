import { TOKEN } from "../../shared/contracts/long-integers.ts";

/** A part of the prelude, and the words of a script that need it. */
type Part = { uses: RegExp; text: string };

/**
 * What a script finds beside the built-ins of JavaScript: `state`, the variables of a loop, and names that conditions of imported
 * definitions use; those conditions are in Python. They are properties of the global object, so that a program may declare the same names.
 *
 * It has only the parts whose words are in the script, because QuickJS needs 0.3 ms to compile all of them, a third of what a short
 * program costs. A script that may name things by other means has all parts.
 */
export function preludeFor(script: string): string {
  const isWhole = OTHER_MEANS.test(script);
  const parts = PARTS.filter(({ uses }) => isWhole || uses.test(script));
  return [BASE, ...parts.map(({ text }) => text), WITHOUT].join("\n");
}

const OTHER_MEANS = /\\[ux]|\b(?:eval|Function|constructor|globalThis|this)\b/;

const BASE = `
Object.assign(globalThis, JSON.parse(__loopVariables), {
  state: JSON.parse(__state), True: true, False: false, None: null,
});`;

/** No clock, and nothing of the prelude itself. */
const WITHOUT = `
delete globalThis.__state;
delete globalThis.__loopVariables;
delete globalThis.Date;
delete globalThis.performance;`;

/** The functions that stand for words of Python in a converted condition. */
const WORDS = `
Object.assign(globalThis, {
  __is: (a, b) => b === null ? a == null : a === b,
  __true: (value) => Boolean(__value(value)),
  __value: (value) => typeof value === "object" && value !== null && Object.keys(value).length === 0 ? null : value,
  __in: (a, b) => b == null ? false
    : typeof b === "string" || Array.isArray(b) ? b.includes(a) : Object.hasOwn(b, a),
});`;

/** As in Python, `int` and `float` fail for what is no number, and `len` for what has no length: an error is not false. */
const FUNCTIONS = `
(() => {
  const shown = (value) => String(JSON.stringify(value)).slice(0, 100);
  const numberOf = (name, value) => {
    const isText = typeof value === "string" && value.trim() !== "";
    const number = isText || ["number", "boolean", "bigint"].includes(typeof value) ? Number(value) : NaN;
    if (!Number.isNaN(number)) return number;
    throw new TypeError(name + "() takes a number or the text of one, and not " + shown(value));
  };
  globalThis.len = (value) => {
    if (typeof value === "string" || Array.isArray(value)) return value.length;
    if (value instanceof Set || value instanceof Map) return value.size;
    if (typeof value === "object" || value === undefined) return Object.keys(value ?? {}).length;
    throw new TypeError("len() takes a text, a list or an object, and not " + shown(value));
  };
  globalThis.str = (value) => value == null ? "None" : value === true ? "True" : value === false ? "False"
    : typeof value === "object" ? JSON.stringify(value) : String(value);
  globalThis.int = (value) => Math.trunc(numberOf("int", value));
  globalThis.float = (value) => numberOf("float", value);
})();`;

/** Methods that texts have in Python, and `count` also of lists: none is enumerable. A wrong argument fails, as in Python. */
const TEXTS = `
(() => {
  const textOf = (name, value) => {
    if (typeof value === "string") return value;
    throw new TypeError(name + "() takes a text, and not " + String(JSON.stringify(value)).slice(0, 100));
  };
  const strip = (name, text, chars, sides) => {
    if (chars == null) return sides === "left" ? text.trimStart() : sides === "right" ? text.trimEnd() : text.trim();
    const dropped = new Set(textOf(name, chars)), kept = [...text];
    let from = 0, to = kept.length;
    while (sides !== "right" && from < to && dropped.has(kept[from])) from += 1;
    while (sides !== "left" && from < to && dropped.has(kept[to - 1])) to -= 1;
    return kept.slice(from, to).join("");
  };
  const methods = {
    lower() { return this.toLowerCase(); },
    upper() { return this.toUpperCase(); },
    startswith(text) { return this.startsWith(textOf("startswith", text)); },
    endswith(text) { return this.endsWith(textOf("endswith", text)); },
    strip(chars) { return strip("strip", String(this), chars, "both"); },
    lstrip(chars) { return strip("lstrip", String(this), chars, "left"); },
    rstrip(chars) { return strip("rstrip", String(this), chars, "right"); },
    isdigit() { return /^[0-9]+$/.test(this); },
    count(text) { return this.split(textOf("count", text)).length - 1; },
  };
  for (const [name, value] of Object.entries(methods))
    Object.defineProperty(String.prototype, name, { value, writable: true });
  Object.defineProperty(Array.prototype, "count", {
    value(item) { return this.filter((one) => one === item).length; }, writable: true,
  });
})();`;

/** The `get` of Python's dictionaries, which is not enumerable. */
const GET = `
Object.defineProperty(Object.prototype, "get", {
  value(key, fallback = null) { return Object.hasOwn(this, key) ? this[key] : fallback; }, writable: true,
});
(() => {
  // A descriptor inherits get, too: with a value beside it none could be defined.
  const { assign, create, defineProperty, defineProperties } = Object, { ownKeys, defineProperty: define } = Reflect;
  const own = (value) => typeof value === "object" && value !== null ? assign(create(null), value) : value;
  const ownAll = (all) => {
    const made = own(all);
    for (const key of ownKeys(made)) made[key] = own(made[key]);
    return made;
  };
  Object.defineProperty = (object, key, descriptor) => defineProperty(object, key, own(descriptor));
  Object.defineProperties = (object, all) => defineProperties(object, ownAll(all));
  Object.create = (parent, all) => all === undefined ? create(parent) : create(parent, ownAll(all));
  Reflect.defineProperty = (object, key, descriptor) => define(object, key, own(descriptor));
})();`;

/** JSON.parse reads an integer beyond 2^53 as a text of its digits, as everything else that reads JSON for a run does. */
const DIGITS = `
(() => {
  const { parse } = JSON, INTEGER = /^-?[0-9]+$/, TOKEN = ${String(TOKEN)};
  const keep = (token) => INTEGER.test(token) && String(Number(token)) !== token ? '"' + token + '"' : token;
  JSON.parse = (text, reviver) => {
    const json = String(text);
    return parse(/[0-9]{16}/.test(json) ? json.replace(TOKEN, keep) : json, reviver);
  };
})();`;

const PARTS: readonly Part[] = [
  { uses: /\b__(?:is|true|value|in)\b/, text: WORDS },
  { uses: /\b(?:len|str|int|float)\b/, text: FUNCTIONS },
  // Only where one of them is called: the property `count` of a list stays undefined for a program that reads it.
  { uses: /\.\s*(?:lower|upper|startswith|endswith|[lr]?strip|isdigit|count)\s*\(/, text: TEXTS },
  { uses: /\bget\b/, text: GET },
  { uses: /\bJSON\b/, text: DIGITS },
];

/** A program that does not set `result` fails: null would look like a result. */
export const READ_RESULT = `if (typeof result === "undefined") throw new Error("it does not set result, or sets it to undefined"); result`;

/** The name of the error that SERIALIZER throws. */
export const NOT_JSON = "NotJson";

/**
 * A function that turns a value into JSON text, or throws and names the path of what JSON cannot hold. JSON.stringify would write null
 * for NaN and {} for a promise or a map, and the run would go on with that. An undefined property is left out; an undefined result is
 * null. The function is evaluated before the program, so that the program cannot replace what it uses.
 */
export const SERIALIZER = `(() => {
  const { stringify } = JSON, { isArray } = Array, { getPrototypeOf, prototype } = Object;
  const { isFinite, isInteger } = Number, { abs } = Math, asBigInt = BigInt;
  const tagOf = Function.prototype.call.bind(prototype.toString);
  const asText = String, asNumber = Number;
  const HELD = ["[object Object]", "[object Array]", "[object Number]", "[object String]", "[object Boolean]"];
  const isHeld = (tag) => { for (const held of HELD) if (held === tag) return true; return false; };
  const refusal = (value, holder) => {
    if (typeof value === "number" && isFinite(value)) {
      // It would be written with digits that it does not have; from 1e21 on it is written with an exponent.
      return isInteger(value) && abs(value) < 1e21 && asBigInt(asText(value)) !== asBigInt(value)
        ? asText(value) + ", an integer beyond 2^53 without all its digits (keep it as text)"
        : null;
    }
    if (typeof value === "number") return asText(value);
    if (typeof value === "undefined") return isArray(holder) ? "undefined" : null;
    if (typeof value === "function" || typeof value === "symbol") return "a " + typeof value;
    if (typeof value === "bigint") return "a BigInt";
    if (typeof value !== "object" || value === null) return null;
    const tag = tagOf(value);
    if (tag === "[object Number]" && !isFinite(asNumber(value))) return asText(value);
    const parent = getPrototypeOf(value);
    if (isHeld(tag) || parent === prototype || parent === null) return null;
    const kind = tag.slice(8, -1);
    return (/^[AEIOU]/.test(kind) ? "an " : "a ") + kind;
  };
  return (root, name) => {
    const holders = [], keys = [];
    let depth = 0;
    const pathTo = (holder, key) => {
      let path = name;
      for (let i = 1; i <= depth; i++) {
        const part = i < depth ? keys[i] : key;
        path += isArray(holders[i - 1]) ? "[" + part + "]" : "." + part;
      }
      return path;
    };
    // Beyond this depth no value is stored, and the search for a cycle ends.
    const holdsItself = (value) => {
      if (typeof value !== "object" || value === null) return false;
      for (let i = 0; i < depth && i < 70; i++) if (holders[i] === value) return true;
      return false;
    };
    const json = stringify(root, function (key, value) {
      while (depth > 0 && holders[depth - 1] !== this) depth -= 1;
      const refused = refusal(value, this) ?? (holdsItself(value) ? "an object that holds itself" : null);
      if (refused !== null) {
        const error = new Error(pathTo(this, key) + " is " + refused + ", which JSON cannot hold");
        error.name = ${JSON.stringify(NOT_JSON)};
        throw error;
      }
      if (typeof value === "object" && value !== null) {
        holders[depth] = value;
        keys[depth] = key;
        depth += 1;
      }
      return value;
    });
    return json === undefined ? "null" : json;
  };
})()`;
