import { MASK, withoutSecrets } from "../../shared/contracts/definition/tool-secrets.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { sealSecret, sealedOf, storedText, withoutSealed } from "../../shared/security/sealed-tool.ts";

/** What is saved with secrets: a tool or an MCP server. */
type WithSecrets = Record<string, unknown> & { url?: string; public_headers?: string[] };

/** A tool or an MCP server as it may be shown: a mask in place of each secret. */
export function maskTool(stored: Record<string, unknown>): Record<string, unknown> {
  return withoutSecrets(withoutSealed(stored)).shown;
}

/** Whether saving this tool needs the stored one: it was read, changed and sent back with masks. */
export function isMasked(tool: WithSecrets): boolean {
  return Object.values(withoutSecrets(tool).secrets).includes(MASK);
}

/**
 * The text of a tool or an MCP server as it is stored: each secret is sealed, and each mask keeps the secret that is stored. A mask keeps
 * nothing when the URL names another server: that server would get a secret which its author may not know.
 * @param sealedAs the owner and the name under which alone its secrets open
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
  const isPublic = new Set(tool.public_headers?.map((name) => `headers.${name.toLowerCase()}`));
  const wrong: FieldError[] = [];
  const kept: [string, string][] = [];
  for (const [path, value] of Object.entries(secrets)) {
    const storedSecret = sealed[path];
    const secret = value === MASK ? open[path] : value;
    if (value === MASK && isPublic.has(path.toLowerCase())) {
      wrong.push({ path, message: "is masked and named in public_headers: send the value" });
    } else if (value === MASK && storedSecret !== undefined) kept.push([path, storedSecret]);
    else if (secret === undefined || secret === MASK) {
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
  throw new AppError("invalid", `Not valid: ${wrong.map(({ path }) => path).join(", ")}.`, { fields: wrong });
}

function originOf(url: unknown): string | null {
  return typeof url === "string" && URL.canParse(url) ? new URL(url).origin : null;
}
