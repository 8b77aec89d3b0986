/**
 * The same JSON without the line separators of Unicode, which JSON need not escape. Many clients divide a stream by their language's own
 * idea of a line (`splitlines` of Python, `aiter_lines` of httpx), and would cut an event or a row in two at U+0085, U+2028 or U+2029.
 */
export function inOneLine(json: string): string {
  return json.replace(SEPARATORS, escaped);
}

const SEPARATORS = /[\u0085\u2028\u2029]/g;

function escaped(separator: string): string {
  return `\\u${separator.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
