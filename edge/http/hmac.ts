/** The HMAC-SHA256 of a text, in hex. The secret is text, or the bytes of a key. */
export async function sign(secret: string | Uint8Array<ArrayBuffer>, text: string): Promise<string> {
  const mac = await crypto.subtle.sign("HMAC", await keyOf(secret), bytesOf(text));
  return Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Whether `hex` is the HMAC-SHA256 of the text, compared in constant time. */
export async function verify(secret: string, text: string, hex: string): Promise<boolean> {
  if (!/^[0-9a-f]{64}$/.test(hex)) return false;
  const mac = Uint8Array.from({ length: 32 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  return crypto.subtle.verify("HMAC", await keyOf(secret), mac, bytesOf(text));
}

function keyOf(secret: string | Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  return crypto.subtle.importKey(
    "raw",
    typeof secret === "string" ? bytesOf(secret) : secret,
    algorithm,
    false,
    ["sign", "verify"],
  );
}

function bytesOf(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(new TextEncoder().encode(text));
}
