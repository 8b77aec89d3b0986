import { parseJson } from "./parse-json.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** A string to its end, or a comma before a closing bracket. Linear: white space is read from the comma before it alone. */
const PIECE = /"(?:[^"\\]|\\[^])*(?:"|\\?$)|,\s*([}\]])/g;

/** The value of JSON with slips that `mendedText` mends. Undefined: it has other faults. */
export function mendedJson(text: string): Json | undefined {
  return parseJson(mendedText(text));
}

/**
 * A text without the slips of models that write JSON by hand, whose meaning is plain: a line break or a tab that is not escaped in a
 * string, and a comma before a closing bracket.
 */
export function mendedText(text: string): string {
  return text.replaceAll(
    PIECE,
    (piece, bracket?: string) => bracket ?? piece.replaceAll(/\p{Cc}/gu, escaped),
  );
}

function escaped(char: string): string {
  return JSON.stringify(char).slice(1, -1);
}
