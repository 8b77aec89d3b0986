/** Bytes of texts, digests and keys, as Node and Workers both make them. */

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Bytes as hex digits. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += HEX[byte];
  return text;
}

/** The bytes of a text of hex digits, two for each byte. The text must have no other characters. */
export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: text.length / 2 }, (_, i) =>
    Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
  );
}

const encoder = new TextEncoder();

/** The bytes of a text in UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(encoder.encode(text));
}

/** `utf8Length` measures texts up to this length in one kept buffer. A UTF-16 unit has at most 3 bytes in UTF-8. */
const MEASURED_CHARS = 8 * 1024;
const measured = new Uint8Array(3 * MEASURED_CHARS);

/** How many bytes a text has in UTF-8. */
export function utf8Length(text: string): number {
  if (text.length > MEASURED_CHARS) return encoder.encode(text).length;
  return encoder.encodeInto(text, measured).written;
}

/** The digest of a text in UTF-8, as hex digits. */
export async function digestOf(algorithm: "SHA-1" | "SHA-256", text: string): Promise<string> {
  return digestOfBytes(algorithm, utf8(text));
}

/** The digest of bytes, as hex digits. */
export async function digestOfBytes(
  algorithm: "SHA-1" | "SHA-256",
  bytes: Uint8Array<ArrayBuffer>,
): Promise<string> {
  return toHex(new Uint8Array(await crypto.subtle.digest(algorithm, bytes)));
}
