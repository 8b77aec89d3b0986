import type { Json } from "../../shared/contracts/json.ts";
import { jsonRangesIn, wholeJson } from "./json-values.ts";
import { mendedText } from "./mended-json.ts";
import { parseJson } from "./parse-json.ts";
import { withoutThoughts } from "./without-thoughts.ts";
import type { Range } from "./json-values.ts";

const FENCE = /```[^\n`]*\n([\s\S]*?)```/g;

/**
 * The JSON values in texts: all of them as one value, else those of each text: the whole text, else its fenced blocks, else its
 * objects and lists. Slips whose meaning is plain are mended; of a value with another fault no part is taken. What a model thought
 * aloud does not count. The time is linear in the length of the texts.
 */
export function findJson(...texts: string[]): Json[] {
  const whole = parseJson(texts.join("\n\n").trim());
  if (whole !== undefined) return [whole];
  const answers = texts.map(withoutThoughts);
  const answer = parseJson(answers.join("\n\n").trim());
  if (answer !== undefined) return [answer];
  const found = answers.map(valuesIn);
  const isBesideValue = found.some(({ values, inProse }) => !inProse && values.some(isValue));
  return found.flatMap(({ values, inProse }) => {
    if (!inProse) return values;
    return isBesideValue ? values.filter((one) => isFull(one) && !isCitation(one)) : withoutProse(values);
  });
}

/** The most characters of an answer in which JSON is searched for: that takes up to 0.3 s for a million characters. */
const MAX_SEARCHED_CHARS = 256 * 1024;

/** The JSON values in an answer of a model, as `findJson` finds them. A longer answer is JSON as a whole, in a fence or not, or has none. */
export function jsonOfAnswer(text: string): Json[] {
  if (text.length <= MAX_SEARCHED_CHARS) return findJson(text);
  const whole = parseJson(
    text
      .trim()
      .replace(/^```[^\n`]*\n/, "")
      .replace(/```$/, ""),
  );
  return whole === undefined ? [] : [whole];
}

/** The values of one text. `inProse`: they stand between words, so some may be no values of the text. */
function valuesIn(text: string): { values: Json[]; inProse: boolean } {
  const whole = parseJson(text.trim());
  if (typeof whole === "object" && whole !== null) return { values: [whole], inProse: false };
  const fenced = parseAll(fencedIn(text));
  if (fenced.length > 0) return { values: fenced, inProse: false };
  return { values: parseAll(jsonRangesIn(text).map((range) => jsonAt(text, range))), inProse: true };
}

/** The fenced blocks of a text that are JSON. */
function fencedIn(text: string): string[] {
  return [...text.matchAll(FENCE)].flatMap(([, block = ""]) => {
    const trimmed = block.trim();
    const whole = wholeJson(trimmed);
    return whole === null ? [] : [jsonAt(trimmed, whole)];
  });
}

function jsonAt(text: string, { from, to, hasSlip }: Range): string {
  const written = text.slice(from, to);
  return hasSlip ? mendedText(written) : written;
}

/** Texts that are JSON, parsed as one list: a hundred thousand calls of a parser take seconds. */
function parseAll(texts: readonly string[]): Json[] {
  const list = parseJson(`[${texts.join(",")}]`);
  return Array.isArray(list) ? list : texts.map(parseJson).filter((value) => value !== undefined);
}

/**
 * Empty brackets are an example beside a value that holds something, and `[0]` or `[2, 3]` is a citation beside an object or
 * a list of something else than numbers. Alone they are the value that the text has.
 */
function withoutProse(values: Json[]): Json[] {
  const full = values.filter(isFull);
  if (full.length === 0) return values;
  return full.some(isValue) ? full.filter((value) => !isCitation(value)) : full;
}

function isFull(value: Json): boolean {
  return typeof value === "object" && Object.keys(value ?? {}).length > 0;
}

/** An object or a list that holds something else than numbers. */
function isValue(value: Json): boolean {
  return isFull(value) && !isNumbers(value);
}

function isCitation(value: Json): boolean {
  return (
    isNumbers(value) &&
    value.length <= 5 &&
    value.every((item) => Number.isInteger(item) && item >= 0 && item < 1_000)
  );
}

function isNumbers(value: Json): value is number[] {
  return Array.isArray(value) && value.every((item) => typeof item === "number");
}
