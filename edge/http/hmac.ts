import { fromHex, toHex, utf8 } from "../../shared/text/bytes.ts";

/** The HMAC-SHA256 of a text, in hex. The secret is text, or the bytes of a key. */
export async function sign(secret: string | Uint8Array<ArrayBuffer>, text: string): Promise<string> {
  const mac = await crypto.subtle.sign("HMAC", await keyOf(secret), utf8(text));
  return toHex(new Uint8Array(mac));
}

/** Whether `hex` is the HMAC-SHA256 of the text, or of bytes, compared in constant time. */
export async function verify(
  secret: string | Uint8Array<ArrayBuffer>,
  signed: string | Uint8Array<ArrayBuffer>,
  hex: string,
): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(hex)) return false;
  const bytes = typeof signed === "string" ? utf8(signed) : signed;
  return crypto.subtle.verify("HMAC", await keyOf(secret), fromHex(hex), bytes);
}

/** Whether two secrets are the same, in a time that does not depend on where they differ. */
export async function isSameSecret(one: string, other: string): Promise<boolean> {
  return verify(one, "", await sign(other, ""));
}

function keyOf(secret: string | Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey(
    "raw",
    typeof secret === "string" ? utf8(secret) : secret,
    algorithm,
    false,
    ["sign", "verify"],
  );
}
