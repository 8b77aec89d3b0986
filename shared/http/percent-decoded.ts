/** A part of a URL without its percent-encoding (RFC 3986, 2.1); null: it has a `%` that begins no escape, or bytes that are no UTF-8. */
export function percentDecoded(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
