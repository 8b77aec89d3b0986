import type { Json } from "../../shared/contracts/json.ts";
import { isJsonText, jsonValuesIn } from "./json-values.ts";
import { mendedJson } from "./mended-json.ts";
import { parseJson } from "./parse-json.ts";
import { withoutThoughts } from "./without-thoughts.ts";

const FENCE = /```[^\n`]*\n([\s\S]*?)```/g;

/**
 * The JSON values in texts: all of them as one value, else their fenced blocks, else their objects and lists. What a model
 * thought aloud does not count. A whole value may have slips whose meaning is plain. The time is linear in the length of the texts.
 */
export function findJson(...texts: string[]): Json[] {
  const whole = parseJson(texts.join("\n\n").trim());
  if (whole !== undefined) return [whole];
  const answers = texts.map(withoutThoughts);
  const answer = valueOf(answers.join("\n\n").trim());
  if (answer !== undefined) return [answer];
  const fenced = answers.flatMap((text) =>
    fencedIn([...text.matchAll(FENCE)].map((match) => (match[1] ?? "").trim())),
  );
  if (fenced.length > 0) return fenced;
  return answers.flatMap((text) =>
    withoutProse(parseAll(jsonValuesIn(text).map(({ from, to }) => text.slice(from, to)))),
  );
}

function fencedIn(blocks: readonly string[]): Json[] {
  const texts = blocks.filter((block) => isJsonText(block) || isBracket(block));
  if (texts.every(isJsonText)) return parseAll(texts);
  return texts.map(valueOf).filter((value) => value !== undefined);
}

/** The value of a whole text. */
function valueOf(text: string): Json | undefined {
  return parseJson(text) ?? (isBracket(text) ? mendedJson(text) : undefined);
}

function isBracket(text: string): boolean {
  return text.startsWith("{") || text.startsWith("[");
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
  const full = values.filter((value) => typeof value === "object" && Object.keys(value ?? {}).length > 0);
  if (full.length === 0) return values;
  const others = full.filter((value) => !isCitation(value));
  return others.some((value) => !isNumbers(value)) ? others : full;
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
