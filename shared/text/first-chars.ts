/** The first half of a surrogate pair, at the end of a text. */
const HALF = /[\uD800-\uDBFF]$/;

/**
 * The first `chars` characters of a text, counted in UTF-16 code units. A surrogate pair that the limit would cut is left out whole:
 * providers refuse a request with half of one.
 */
export function firstChars(text: string, chars: number): string {
  return text.length <= chars ? text : text.slice(0, chars).replace(HALF, "");
}

const encoder = new TextEncoder();

/** The longest beginning of a text that has at most `bytes` bytes in UTF-8. No surrogate pair is cut. */
export function firstBytes(text: string, bytes: number): string {
  // No UTF-16 code unit has more than three bytes.
  if (text.length * 3 <= bytes) return text;
  return text.slice(0, encoder.encodeInto(text, new Uint8Array(bytes)).read);
}
