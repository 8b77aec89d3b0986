/** The parts of a JSON text: texts, punctuation, numbers, words. Linear: no part is read twice. */
export const TOKEN = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g;

const INTEGER = /^-?[0-9]+$/;
/** No shorter integer is rounded. */
const MIN_DIGITS = 16;

/**
 * The paths of the integers of a JSON text that a reader of JSON rounds, because they lie beyond 2^53: the value that is
 * read has other digits. At most ten; only integer literals count, decimals are rounded by design.
 * @param json a text that JSON.parse accepts
 */
export function roundedIntegers(json: string): (string | number)[][] {
  // Nearly all texts end here.
  if (!/[0-9]{16}/.test(json)) return [];
  const found: (string | number)[][] = [];
  /** The place in each value that is open: the key in an object, the index in an array. */
  const path: (string | number)[] = [];
  let last = "";
  for (const [token] of json.matchAll(TOKEN)) {
    if (token === "{") path.push("");
    else if (token === "[") path.push(0);
    else if (token === "}" || token === "]") path.pop();
    else if (token === ":") path[path.length - 1] = String(JSON.parse(last));
    else if (token === ",") path.push(next(path.pop()));
    else if (isRounded(token)) found.push([...path]);
    if (found.length === 10) break;
    last = token;
  }
  return found;
}

/**
 * A JSON text in which the integers that a reader would round are texts of their digits. A tool's answer and a model's
 * arguments are read so: an id of 64 bits keeps its digits, and only its type changes.
 */
export function withLongIntegersAsText(json: string): string {
  if (!/[0-9]{16}/.test(json)) return json;
  return json.replace(TOKEN, (token) => (isRounded(token) ? `"${token}"` : token));
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
