import type { ToolSpec } from "../engine/ports.ts";
import { CALL_MARKS, callsInText } from "./text-calls.ts";
import type { TextCall } from "./text-calls.ts";

/** Calls that a text ends with. `at`: where they begin in it. */
export type CallsAtEnd = { calls: TextCall[]; at: number };

const LONGEST_CHARS = Math.max(...CALL_MARKS.map((mark) => mark.length));
const FENCE_AND_MARKS = ["```", ...CALL_MARKS];
const BEGINNINGS: ReadonlySet<string> = new Set(FENCE_AND_MARKS.map((mark) => mark.slice(0, 1)));
const MARK_OR_FENCE = new RegExp(
  FENCE_AND_MARKS.map((mark) => mark.replaceAll(/[|[\]]/g, "\\$&")).join("|"),
  "g",
);
const QUOTE = /["'`]/;
/** The most places that are remembered: a text with more marks is about the marks, and makes no calls. */
const MAX_STARTS = 20;

/**
 * Finds, as a text arrives, where calls may begin in it: at a mark that is neither in a fenced block nor after a quotation mark, where a text
 * only mentions it. Each piece is read once.
 */
export class CallStarts {
  /** The places, in characters of the text. */
  readonly at: number[] = [];
  #chars = 0;
  /** The end of what has come: it may be the beginning of a mark. */
  #rest = "";
  #isFenced = false;
  /** The character before `#rest`. */
  #before = "";

  /** @returns how many characters at the end of the text may be calls, or the beginning of a mark */
  push(piece: string): number {
    const text = this.#rest + piece;
    const from = this.#chars - this.#rest.length;
    this.#chars += piece.length;
    let readTo = 0;
    for (const { 0: mark, index } of text.matchAll(MARK_OR_FENCE)) {
      readTo = index + mark.length;
      if (mark === "```") this.#isFenced = !this.#isFenced;
      else if (!this.#isFenced && !QUOTE.test(text[index - 1] ?? this.#before) && this.at.length < MAX_STARTS)
        this.at.push(from + index);
    }
    const keptFrom = Math.max(readTo, beginningAt(text));
    this.#before = text[keptFrom - 1] ?? this.#before;
    this.#rest = text.slice(keptFrom);
    const [first] = this.at;
    return first === undefined ? this.#rest.length : this.#chars - first;
  }
}

/** The calls of which a text consists from one of its marks on. Null: there are none. */
export function callsAtEnd(
  text: string,
  starts: readonly number[],
  tools: readonly ToolSpec[],
): CallsAtEnd | null {
  for (const at of starts) {
    const calls = callsInText(text.slice(at), tools);
    if (calls !== null) return { calls, at };
  }
  return null;
}

/** Where a mark or a fence may have begun at the end of a text; its length: nowhere. */
function beginningAt(text: string): number {
  for (let at = Math.max(0, text.length - LONGEST_CHARS); at < text.length; at++) {
    if (!BEGINNINGS.has(text[at] ?? "")) continue;
    const begun = text.slice(at);
    if (FENCE_AND_MARKS.some((mark) => mark.startsWith(begun))) return at;
  }
  return text.length;
}
