import { z } from "zod";
import { fromHex, utf8 } from "../bytes.ts";

/** AES-256-GCM. A random nonce of 12 bytes precedes the sealed bytes. */
const ALGORITHM = "AES-GCM";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;

/** The first characters of a sealed value: they name its format, so that a second format can be added. */
const VERSION = "v1.";

/** The key that seals secrets: MASTER_KEY, 32 bytes. */
export type MasterKey = Uint8Array<ArrayBuffer>;

/** The schema of MASTER_KEY as text. @param name begins the error text */
export function masterKey(name = "") {
  return z.string().transform((text, context): MasterKey => {
    const key = /^[0-9a-f]{64}$/i.test(text) ? fromHex(text) : fromBase64(text);
    if (key?.length === KEY_BYTES) return key;
    const message = `${name}must be 32 bytes, as 64 hex digits or as base64: openssl rand -base64 32`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });
}

/** A value cannot be opened: it was sealed under another key or for another place, or it is no sealed value. */
export class SealError extends Error {
  constructor(message: string, options: ErrorOptions = {}) {
    super(message, options);
    this.name = "SealError";
  }
}

/**
 * Seals a text: it opens only with the same key, and only for the same place.
 * @param place where the value belongs, by `sealedPlace`. A value that is moved to another row does not open.
 */
export async function seal(key: MasterKey, text: string, place: string): Promise<string> {
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await crypto.subtle.encrypt(paramsOf(nonce, place), await keyOf(key), utf8(text));
  return VERSION + toBase64([...nonce, ...new Uint8Array(sealed)]);
}

/** Returns the text that was sealed for this place. @throws SealError, which quotes nothing of the text */
export async function unseal(key: MasterKey, sealed: string, place: string): Promise<string> {
  const bytes = sealed.startsWith(VERSION) ? fromBase64(sealed.slice(VERSION.length)) : null;
  if (!bytes) throw new SealError("this is not a sealed value");
  const [nonce, rest] = [bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES)];
  try {
    const text = await crypto.subtle.decrypt(paramsOf(nonce, place), await keyOf(key), rest);
    return new TextDecoder().decode(text);
  } catch (cause) {
    throw new SealError("the value was sealed under another MASTER_KEY, or for another place", { cause });
  }
}

/** The place of a sealed value: a field of the object with this id. */
export function sealedPlace(id: string, field: string): string {
  return `${id}/${field}`;
}

function paramsOf(iv: MasterKey, place: string) {
  return { name: ALGORITHM, iv, additionalData: utf8(place) };
}

function keyOf(key: MasterKey): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", key, ALGORITHM, false, ["encrypt", "decrypt"]);
}

function toBase64(bytes: readonly number[]): string {
  return btoa(bytes.map((byte) => String.fromCharCode(byte)).join(""));
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}
