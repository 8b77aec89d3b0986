import { TOKEN } from "./long-integers.ts";

const MAX_REPORTED = 10;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/**
 * The paths of the keys that an object of a JSON text has more than once: a reader of JSON keeps the last value and drops the
 * others without an error (RFC 8259, section 4). At most ten.
 * @param value what JSON.parse reads from `json`
 */
export function repeatedKeys(json: string, value: unknown): (string | number)[][] {
  // Nearly all texts end here. The tokens of a text cost 40 us and more, and this is a part of every request.
  return colonsOf(json) === membersOf(value) ? [] : findRepeated(json);
}

/** One for each member that is written: the colons outside of strings. */
function colonsOf(json: string): number {
  let colons = 0;
  for (let i = 0; i < json.length; i++) {
    const char = json.charCodeAt(i);
    if (char === QUOTE) i = endOfString(json, i);
    else if (char === COLON) colons += 1;
  }
  return colons;
}

/**
 * The quote that ends the string which begins at `start`. To search for the next quote costs 10 us for a megabyte; a loop over its
 * characters took 4,700.
 */
function endOfString(json: string, start: number): number {
  for (let end = json.indexOf('"', start + 1); end !== -1; end = json.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (json.charCodeAt(end - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return json.length;
}

/** One for each member that was read. A stack of its own, because a body may be nested deeper than the engine's. */
function membersOf(value: unknown): number {
  let members = 0;
  const pending = [value];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (typeof next !== "object" || next === null) continue;
    const values: unknown[] = Array.isArray(next) ? next : Object.values(next);
    if (!Array.isArray(next)) members += values.length;
    for (const inner of values) if (typeof inner === "object") pending.push(inner);
  }
  return members;
}

function findRepeated(json: string): (string | number)[][] {
  const found: (string | number)[][] = [];
  /** The values that are open: the keys of an object so far, none for an array; and the key or index inside of it. */
  const open: { keys: Set<string> | null; at: string | number }[] = [];
  let last = "";
  for (const [token] of json.matchAll(TOKEN)) {
    const inner = open.at(-1);
    if (token === "{") open.push({ keys: new Set(), at: "" });
    else if (token === "[") open.push({ keys: null, at: 0 });
    else if (token === "}" || token === "]") open.pop();
    else if (token === ":" && inner?.keys) {
      inner.at = last.includes("\\") ? String(JSON.parse(last)) : last.slice(1, -1);
      if (inner.keys.has(inner.at)) found.push(open.map(({ at }) => at));
      if (found.length === MAX_REPORTED) break;
      inner.keys.add(inner.at);
    } else if (token === "," && typeof inner?.at === "number") inner.at += 1;
    last = token;
  }
  return found;
}
