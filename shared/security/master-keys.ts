import { z } from "zod";
import { fromHex } from "../text/bytes.ts";

const KEY_BYTES = 32;
/** The most keys of an installation: two are enough to rotate one. */
const MAX_KEYS = 8;

/** The id of the key in MASTER_KEY, which has none of its own. */
export const DEFAULT_KEY_ID = "default";

/** One master key: 32 bytes. */
type MasterKey = Uint8Array<ArrayBuffer>;

/** The keys that open secrets, by id, and the id of the one that seals them: docs/protocol.md 5.11. */
export type MasterKeys = { writer: string; keys: ReadonlyMap<string, MasterKey> };

/** The schema of MASTER_KEY as text. @param name begins the error text */
export function masterKey(name = "") {
  return z.string().transform((text, context): MasterKeys => {
    const key = keyOf(text);
    if (key) return { writer: DEFAULT_KEY_ID, keys: new Map([[DEFAULT_KEY_ID, key]]) };
    context.addIssue({ code: "custom", message: `${name}${KEY_RULE}` });
    return z.NEVER;
  });
}

/**
 * The schema of MASTER_KEYS as text: `id:key,id:key`. The first key seals, all of them open. `default` is the id of the key that
 * MASTER_KEY had.
 * @param name begins the error text, which quotes no key
 */
export function masterKeys(name = "") {
  return z.string().transform((text, context): MasterKeys => {
    const entries = text.split(",").map((entry) => entry.trim());
    const keys = new Map<string, MasterKey>();
    const refuse = (message: string) => context.addIssue({ code: "custom", message: `${name}${message}` });
    if (entries.length > MAX_KEYS) refuse(`may have at most ${MAX_KEYS} keys`);
    entries.forEach((entry, index) => {
      const [, id, value = ""] = /^([a-z0-9-]{1,32}):(.*)$/s.exec(entry) ?? [];
      const key = keyOf(value);
      if (id === undefined)
        refuse(`entry ${index + 1} must be id:key, the id of 1 to 32 small letters, digits and -`);
      else if (!key) refuse(`the key ${id} ${KEY_RULE}`);
      else if (keys.has(id)) refuse(`has the key ${id} twice`);
      else keys.set(id, key);
    });
    const [writer = ""] = keys.keys();
    return context.issues.length > 0 ? z.NEVER : { writer, keys };
  });
}

type MasterKeyVariables = { MASTER_KEY?: MasterKeys | undefined; MASTER_KEYS?: MasterKeys | undefined };

/** The keys of either variable; undefined: this installation has none. */
export function masterKeysOf(config: MasterKeyVariables): MasterKeys | undefined {
  return config.MASTER_KEY ?? config.MASTER_KEYS;
}

/** Checks that an environment has at most one of the two variables. @returns an error text; null: it does */
export function bothSet(env: MasterKeyVariables): string | null {
  if (env.MASTER_KEY === undefined || env.MASTER_KEYS === undefined) return null;
  return `MASTER_KEY and MASTER_KEYS are both set: write the key of MASTER_KEY into MASTER_KEYS as ${DEFAULT_KEY_ID}:<key>, and remove MASTER_KEY`;
}

/**
 * The key of fingerprints of secrets. It stays the same while another key begins to seal: the one with the id `default`, else the
 * first by id.
 */
export function fingerprintKeyOf({ keys }: MasterKeys): MasterKey {
  const [first] = [...keys].toSorted(([a], [b]) => (a < b ? -1 : 1));
  const key = keys.get(DEFAULT_KEY_ID) ?? first?.[1];
  if (!key) throw new Error("there is no master key");
  return key;
}

const KEY_RULE = "must be 32 bytes, as 64 hex digits or as base64: openssl rand -base64 32";

function keyOf(text: string): MasterKey | null {
  const key = /^[0-9a-f]{64}$/i.test(text) ? fromHex(text) : bytesOfBase64(text);
  return key?.length === KEY_BYTES ? key : null;
}

/** The bytes of a base64 text; null: it is none. */
export function bytesOfBase64(text: string): Uint8Array<ArrayBuffer> | null {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}
