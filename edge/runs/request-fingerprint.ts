import { fingerprintKeyOf, masterKeysOf } from "../../shared/security/master-keys.ts";
import { digestOf } from "../../shared/text/bytes.ts";
import type { Config } from "../env.ts";
import { sign } from "../http/hmac.ts";

/**
 * The fingerprint of a request's meaning: two requests with the same Idempotency-Key must have the same one. Its text does not count: the
 * order of keys, white space, null in place of an absent field, written defaults and ignored fields do not change it. The secret is
 * part of it as an HMAC, so nobody without MASTER_KEY can test guesses of the secret with the fingerprint.
 * @returns 64 hex digits
 */
export async function fingerprintOf(meaning: object, secret: string | null, config: Config): Promise<string> {
  const keys = masterKeysOf(config);
  const sealed = keys && secret !== null ? await sign(fingerprintKeyOf(keys), secret) : secret;
  return digestOf("SHA-256", JSON.stringify({ ...meaning, secret: sealed }, sortedKeys));
}

/** For JSON.stringify: writes the fields of every object in one order. */
export function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
