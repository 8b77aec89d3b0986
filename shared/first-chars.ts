/** The first half of a character of two code units, at the end of a text. */
const HALF = /[\uD800-\uDBFF]$/;

/** The first `chars` characters of a text. Half a character at the end is left out: it is none, and providers refuse a request with one. */
export function firstChars(text: string, chars: number): string {
  return text.length <= chars ? text : text.slice(0, chars).replace(HALF, "");
}
