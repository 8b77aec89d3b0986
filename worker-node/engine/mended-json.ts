import { parseJson } from "./parse-json.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** Each match consumes what it has looked at, so that the time is linear: a string to its end, a comma, or what is neither. */
const PIECE = /"(?:[^"\\]|\\[^])*(?:"|\\?$)|,\s*([}\]])|,\s*|[^",]+/g;

/** The value of JSON with slips that `mendedText` mends. Undefined: it has other faults. */
export function mendedJson(text: string): Json | undefined {
  return parseJson(mendedText(text));
}

/**
 * A text without the slips of models that write JSON by hand, whose meaning is plain: a line break or a tab that is not escaped in a
 * string, and a comma before a closing bracket.
 */
export function mendedText(text: string): string {
  return text.replaceAll(PIECE, (piece, bracket?: string) => {
    if (bracket !== undefined) return bracket;
    return piece.startsWith('"') ? piece.replaceAll(/\p{Cc}/gu, escaped) : piece;
  });
}

function escaped(char: string): string {
  return JSON.stringify(char).slice(1, -1);
}
