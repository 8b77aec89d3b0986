import { MASK, withoutSecrets } from "../../shared/contracts/definition/tool-secrets.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { keyIdOf, unsealed } from "../../shared/security/seal.ts";
import {
  sealSecret,
  sealedOf,
  storedText,
  toolPlace,
  withoutSealed,
} from "../../shared/security/sealed-tool.ts";
import { invalidFields } from "../http/problem.ts";

/** A definition that may hold secrets: a tool or an MCP server. */
type WithSecrets = Record<string, unknown> & { url?: string; public_headers?: string[] };

/** A tool or an MCP server as clients see it: with a mask in place of each secret. */
export function maskTool(stored: Record<string, unknown>): Record<string, unknown> {
  return withoutSecrets(withoutSealed(stored)).shown;
}

/** Whether a secret of this tool is a mask, which the stored tool has to replace. */
export function isMasked(tool: WithSecrets): boolean {
  return Object.values(withoutSecrets(tool).secrets).includes(MASK);
}

/**
 * The text of a tool or an MCP server as it is stored: each secret is sealed, and each mask keeps the secret that is stored. A mask
 * keeps nothing when the URL names another server: the author of the definition could otherwise send that server a secret that the
 * author does not know.
 * @param sealedAs the owner and the name: the sealed secrets open under these alone
 * @param stored the same owner's tool as it is stored; null: there is none, or the tool has no mask
 * @throws AppError `invalid` for a mask that keeps nothing, and for a secret where there is no MASTER_KEY
 */
export async function textToStore(
  tool: WithSecrets,
  sealedAs: { owner: Owner; name: string },
  stored: Record<string, unknown> | null,
  key: MasterKeys | undefined,
): Promise<string> {
  const { shown, secrets } = withoutSecrets(tool);
  const known = stored !== null && originOf(stored["url"]) === originOf(tool.url) ? stored : {};
  const sealed = sealedOf(known) ?? {};
  const open = withoutSecrets(withoutSealed(known)).secrets;
  const publicPaths = new Set(tool.public_headers?.map((name) => `headers.${name.toLowerCase()}`));
  const wrong: FieldError[] = [];
  const kept: [string, string][] = [];
  for (const [path, value] of Object.entries(secrets)) {
    const storedSecret = sealed[path];
    const secret = value === MASK ? open[path] : value;
    if (value === MASK && publicPaths.has(path.toLowerCase())) {
      wrong.push({ path, message: "is masked and named in public_headers: send the value" });
    } else if (value === MASK && storedSecret !== undefined) {
      kept.push([path, await keptSecret(key, sealedAs, path, storedSecret)]);
    } else if (secret === undefined || secret === MASK) {
      wrong.push({
        path,
        message: "is masked or redacted, and no value of it is stored for this server: send the value",
      });
    } else if (!key) {
      const message = "cannot be stored: this installation has no MASTER_KEY to seal secrets with";
      wrong.push({ path, message });
    } else kept.push([path, await sealSecret(key, sealedAs, path, secret)]);
  }
  if (wrong.length === 0) return storedText(shown, Object.fromEntries(kept));
  throw invalidFields(wrong);
}

/**
 * A stored secret under the key that seals. Between the read of the tool and its save a rotation of the master key may replace the stored
 * value: this save then does not put a value of the old key in its place.
 */
async function keptSecret(
  key: MasterKeys | undefined,
  sealedAs: { owner: Owner; name: string },
  path: string,
  stored: string,
): Promise<string> {
  const secret = await unsealed(key ?? null, stored, toolPlace(sealedAs, path));
  // A worker or a later save may have the key with which it opens.
  if (key === undefined || secret === null || keyIdOf(stored) === key.writer) return stored;
  return sealSecret(key, sealedAs, path, secret);
}

function originOf(url: unknown): string | null {
  return typeof url === "string" && URL.canParse(url) ? new URL(url).origin : null;
}
