/** The most characters of a pattern, and of a text that is compared with one. */
export const MAX_PATTERN_CHARS = 200;
const MAX_PATTERN_TEXT = 10_000;

/** The parts of a pattern: an atom takes one character, and may be followed by how often it comes. */
const CLASS = String.raw`\[\^?(?:\\[dwsDWS\\\]\[^\-./+*?(){}|$]|[^\\\[\]])+\]`;
const ATOM = String.raw`(?:\\[dwsDWS\\.\-/+*?()\[\]{}|^$]|${CLASS}|[^\\\[\](){}|*+?^$])`;
const TIMES = String.raw`(?:\{(\d{1,4})(,(\d{1,4})?)?\}|[*+?])?`;
const PART = new RegExp(`(${ATOM})${TIMES}`, "uy");

type Part = { atom: RegExp; min: number; max: number };

/**
 * Reads a pattern of a form field: characters, `.`, classes such as `[A-Z]`, `\d`, `\w`, `\s`, each with `*`, `+`, `?` or `{2,4}`, and
 * optional `^` and `$` around it. It has no groups and no `|`, so the time of a match is bounded by the product of the lengths of
 * pattern and text.
 * @returns null: it is no such pattern
 */
function partsOf(pattern: string): Part[] | null {
  if (pattern.length > MAX_PATTERN_CHARS) return null;
  const body = pattern.replace(/^\^/, "").replace(/(?<!\\)\$$/, "");
  const parts: Part[] = [];
  PART.lastIndex = 0;
  while (PART.lastIndex < body.length) {
    const found = PART.exec(body);
    if (found === null) return null;
    const [whole, atom = "", least, range, most] = found;
    const sign = whole.slice(atom.length);
    const part = { atom: atomOf(atom), ...timesOf(sign, least, range, most) };
    if (part.atom === null || part.min > part.max) return null;
    parts.push({ atom: part.atom, min: part.min, max: part.max });
  }
  return parts;
}

function atomOf(atom: string): RegExp | null {
  try {
    return new RegExp(`^${atom}$`, "su");
  } catch {
    return null;
  }
}

function timesOf(sign: string, least?: string, range?: string, most?: string): { min: number; max: number } {
  if (sign === "*") return { min: 0, max: Infinity };
  if (sign === "+") return { min: 1, max: Infinity };
  if (sign === "?") return { min: 0, max: 1 };
  if (least === undefined) return { min: 1, max: 1 };
  const min = Number(least);
  return { min, max: range === undefined ? min : most === undefined ? Infinity : Number(most) };
}

/** Why a pattern cannot be used; null: it can. */
export function patternError(pattern: string): string | null {
  if (partsOf(pattern) !== null) return null;
  return (
    `must be at most ${MAX_PATTERN_CHARS} characters of: characters, ., classes such as [A-Z], \\d, \\w and \\s, each with *, +, ? or ` +
    "{2,4}; without groups, | and look-around"
  );
}

/**
 * Whether the whole of a text fits a pattern. Each step keeps the set of places that the parts so far can reach, so no text makes it
 * slow: a pattern of 200 characters and a text of 10,000 take 2 million steps at most.
 */
export function fitsPattern(pattern: string, text: string): boolean {
  const parts = partsOf(pattern);
  const chars = Array.from(text);
  if (parts === null || chars.length > MAX_PATTERN_TEXT) return false;
  let reached = new Uint8Array(chars.length + 1);
  reached[0] = 1;
  for (const { atom, min, max } of parts) reached = after(reached, chars, atom, min, max);
  return reached[chars.length] === 1;
}

/** The places that can be reached from `from` by `min` to `max` characters that are of `atom`. */
function after(
  from: Uint8Array,
  chars: readonly string[],
  atom: RegExp,
  min: number,
  max: number,
): Uint8Array<ArrayBuffer> {
  const to = new Uint8Array(chars.length + 1);
  // `starts[i]`: how many of the places before place i can be reached. So two look-ups say whether one in a range can.
  const starts = new Uint32Array(chars.length + 2);
  for (let at = 0; at <= chars.length; at++) starts[at + 1] = (starts[at] ?? 0) + (from[at] ?? 0);
  let runFrom = 0;
  for (let at = 0; at <= chars.length; at++) {
    if (at > 0 && !atom.test(chars[at - 1] ?? "")) runFrom = at;
    const first = Math.max(runFrom, at - max);
    const last = at - min;
    if (last >= first && (starts[last + 1] ?? 0) > (starts[first] ?? 0)) to[at] = 1;
  }
  return to;
}
