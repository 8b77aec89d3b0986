import { parseJson } from "./parse-json.ts";
import type { Json } from "../../shared/contracts/json.ts";

/** Each match consumes what it has looked at, so that the time is linear: a string to its end, a comma, or what is neither. */
const PIECE = /"(?:[^"\\]|\\[^])*(?:"|\\?$)|,\s*([}\]])|,\s*|[^",]+/g;

/**
 * The value of JSON with the slips of models that write it by hand, whose meaning is plain: a line break or a tab that is not escaped
 * in a string, and a comma before a closing bracket. Undefined: it has other faults.
 */
export function mendedJson(text: string): Json | undefined {
  const mended = text.replaceAll(PIECE, (piece, bracket?: string) => {
    if (bracket !== undefined) return bracket;
    return piece.startsWith('"') ? piece.replaceAll(/\p{Cc}/gu, escaped) : piece;
  });
  return parseJson(mended);
}

function escaped(char: string): string {
  return JSON.stringify(char).slice(1, -1);
}
