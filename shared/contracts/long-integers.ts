/**
 * The parts of a text that is JSON or not: texts, punctuation, numbers, words. Linear: no part is read twice. Therefore a text without
 * its end is a part too; if the expression failed there, it would read the rest again from each quotation mark in it.
 */
export const TOKEN = /"[^"\\]*(?:\\[\s\S][^"\\]*)*"?|[[\]{}:,]|[^\s[\]{}:,"]+/g;

const INTEGER = /^-?[0-9]+$/;
/** No shorter integer is rounded. */
const MIN_DIGITS = 16;
const MAY_HAVE_LONG = /[0-9]{16}/;

/** The place of a value in a JSON text: keys of objects and indices of arrays. */
export type JsonPath = readonly (string | number)[];

/**
 * The paths of the integers of a JSON text that a reader of JSON rounds, because they lie beyond 2^53: the value that is
 * read has other digits. At most ten; only integer literals count, decimals are rounded by design.
 * @param json a text that JSON.parse accepts
 */
export function roundedIntegers(json: string): JsonPath[] {
  const found: JsonPath[] = [];
  for (const { path } of longIntegersOf(json)) {
    found.push([...path]);
    if (found.length === 10) break;
  }
  return found;
}

/**
 * A JSON text in which the integers that a reader would round are texts of their digits. A tool's answer, a model's arguments and the
 * values of a request are read so: an id of 64 bits keeps its digits, and only its type changes.
 * @param isCarried whether the integer at a path may become a text; absent: each may, and `json` need not be JSON
 */
export function withLongIntegersAsText(json: string, isCarried?: (path: JsonPath) => boolean): string {
  if (!MAY_HAVE_LONG.test(json)) return json;
  if (!isCarried) return json.replace(TOKEN, (token) => (isRounded(token) ? `"${token}"` : token));
  const parts: string[] = [];
  let end = 0;
  for (const { token, from, path } of longIntegersOf(json)) {
    if (!isCarried(path)) continue;
    parts.push(json.slice(end, from), `"${token}"`);
    end = from + token.length;
  }
  return parts.join("") + json.slice(end);
}

type LongInteger = { token: string; from: number; path: JsonPath };

/** The integers of a JSON text that a reader would round. Their path is valid until the next one. */
function* longIntegersOf(json: string): Generator<LongInteger> {
  // Nearly all texts end here.
  if (!MAY_HAVE_LONG.test(json)) return;
  /** The place in each value that is open: the key in an object, the index in an array. */
  const path: (string | number)[] = [];
  let last = "";
  for (const { 0: token, index: from } of json.matchAll(TOKEN)) {
    if (token === "{") path.push("");
    else if (token === "[") path.push(0);
    else if (token === "}" || token === "]") path.pop();
    else if (token === ":") path[path.length - 1] = String(JSON.parse(last));
    else if (token === ",") path.push(next(path.pop()));
    else if (isRounded(token)) yield { token, from, path };
    last = token;
  }
}

/** Whether a value is a text of the digits of an integer that a number cannot hold. */
export function isLongInteger(value: unknown): value is string {
  return typeof value === "string" && isRounded(value);
}

function next(place: string | number | undefined): string | number {
  return typeof place === "number" ? place + 1 : "";
}

function isRounded(token: string): boolean {
  return token.length >= MIN_DIGITS && INTEGER.test(token) && String(Number(token)) !== token;
}
