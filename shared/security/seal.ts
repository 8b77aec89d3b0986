import { utf8 } from "../text/bytes.ts";
import { DEFAULT_KEY_ID, bytesOfBase64 } from "./master-keys.ts";
import type { MasterKeys } from "./master-keys.ts";

/** AES-256-GCM. A random nonce of 12 bytes precedes the sealed bytes. */
const ALGORITHM = "AES-GCM";
const NONCE_BYTES = 12;

/** A value that was sealed under the key `default`: the only form before there were several keys. */
const V1 = "v1.";
/** `v2.<id of the key>.<sealed bytes>`. */
const V2 = /^v2\.([a-z0-9-]{1,32})\.(.*)$/;

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
export async function seal({ writer, keys }: MasterKeys, text: string, place: string): Promise<string> {
  const key = keys.get(writer);
  if (!key) throw new Error(`there is no master key ${writer}`);
  const nonce = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await crypto.subtle.encrypt(paramsOf(nonce, place), await cryptoKeyOf(key), utf8(text));
  const prefix = writer === DEFAULT_KEY_ID ? V1 : `v2.${writer}.`;
  return prefix + toBase64([...nonce, ...new Uint8Array(sealed)]);
}

/** Returns the text that was sealed for this place. @throws SealError, which quotes nothing of the text */
export async function unseal({ keys }: MasterKeys, sealed: string, place: string): Promise<string> {
  const { id, bytes } = partsOf(sealed);
  const key = keys.get(id);
  if (!key)
    throw new SealError(`the value was sealed under the master key ${id}, which is not in MASTER_KEYS here`);
  const [nonce, rest] = [bytes.subarray(0, NONCE_BYTES), bytes.subarray(NONCE_BYTES)];
  try {
    const text = await crypto.subtle.decrypt(paramsOf(nonce, place), await cryptoKeyOf(key), rest);
    return new TextDecoder().decode(text);
  } catch (cause) {
    throw new SealError("the value was sealed under another MASTER_KEY, or for another place", { cause });
  }
}

/** The id of the key that sealed a value. @throws SealError */
export function keyIdOf(sealed: string): string {
  return partsOf(sealed).id;
}

/** As `unseal`, but null when the value does not open with these keys (null: there are none), or not for this place. */
export async function unsealed(
  keys: MasterKeys | null,
  sealed: string,
  place: string,
): Promise<string | null> {
  try {
    return keys && (await unseal(keys, sealed, place));
  } catch (error) {
    if (!(error instanceof SealError)) throw error;
    return null;
  }
}

/** The place of a sealed value: a field of the object with this id. */
export function sealedPlace(id: string, field: string): string {
  return `${id}/${field}`;
}

/** The key id and the bytes of a sealed value. @throws SealError for any other text */
function partsOf(sealed: string): { id: string; bytes: Uint8Array<ArrayBuffer> } {
  const [, id = DEFAULT_KEY_ID, text = sealed.startsWith(V1) ? sealed.slice(V1.length) : null] =
    V2.exec(sealed) ?? [];
  const bytes = text === null ? null : bytesOfBase64(text);
  if (!bytes) throw new SealError("this is not a sealed value");
  return { id, bytes };
}

function paramsOf(iv: Uint8Array<ArrayBuffer>, place: string) {
  return { name: ALGORITHM, iv, additionalData: utf8(place) };
}

function cryptoKeyOf(key: Uint8Array<ArrayBuffer>): Promise<CryptoKey> {
  return crypto.subtle.importKey("raw", key, ALGORITHM, false, ["encrypt", "decrypt"]);
}

function toBase64(bytes: readonly number[]): string {
  return btoa(bytes.map((byte) => String.fromCharCode(byte)).join(""));
}
