import { fingerprintKeyOf, masterKeysOf } from "../../shared/security/master-keys.ts";
import { digestOf } from "../../shared/bytes.ts";
import type { Config } from "../env.ts";
import { sign } from "../http/hmac.ts";

/**
 * The fingerprint of the run that a request describes, not of its text: the order of keys, white space, null in place of an
 * absent field, defaults that are written out and ignored fields do not change it. It has an HMAC in place of the secret:
 * without MASTER_KEY, guesses of the secret cannot be tested with it.
 */
export async function fingerprintOf(meaning: object, secret: string | null, config: Config): Promise<string> {
  const keys = masterKeysOf(config);
  const sealed = keys && secret !== null ? await sign(fingerprintKeyOf(keys), secret) : secret;
  return digestOf("SHA-256", JSON.stringify({ ...meaning, secret: sealed }, sortedKeys));
}

/** For JSON.stringify: writes the fields of every object in one order. */
function sortedKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}
