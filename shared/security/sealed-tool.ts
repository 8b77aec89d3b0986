import { z } from "zod";
import { withSecrets } from "../contracts/definition/tool-secrets.ts";
import { sealedPlace, SealError, seal, unseal } from "./seal.ts";
import type { MasterKeys } from "./master-keys.ts";

/**
 * A tool as it is stored: masks in place of its secrets, and in `sealed` the sealed secret of each masked place. A tool
 * that was saved before secrets were sealed has no `sealed`, and its secrets are in plain text.
 */
const StoredTool = z.looseObject({ sealed: z.record(z.string(), z.string()).optional() });

/** Parses the JSON text of a tool's row. */
export function readStoredTool(text: string): Record<string, unknown> {
  return z.record(z.string(), z.unknown()).parse(JSON.parse(text));
}

/** The sealed secrets of a stored tool, by place. Null: it was saved before secrets were sealed. */
export function sealedOf(stored: Record<string, unknown>): Readonly<Record<string, string>> | null {
  return StoredTool.parse(stored).sealed ?? null;
}

/** The JSON text of a tool with its sealed secrets. `sealed` is first, so that a query finds the tools without it. */
export function storedText(shown: Record<string, unknown>, sealed: Readonly<Record<string, string>>): string {
  return JSON.stringify({ sealed, ...shown });
}

/** The beginning of the stored text of every tool whose secrets are sealed. */
export const SEALED_TEXT = '{"sealed":';

/** A stored tool without its field `sealed`. */
export function withoutSealed(stored: Record<string, unknown>): Record<string, unknown> {
  const { sealed: _, ...rest } = stored;
  return rest;
}

/** Seals one secret of a tool. It opens only in the same place of this owner's tool. */
export function sealSecret(
  key: MasterKeys,
  { owner, name }: { owner: string; name: string },
  path: string,
  secret: string,
): Promise<string> {
  return seal(key, secret, toolPlace({ owner, name }, path));
}

/** The place of a secret of a tool. */
export function toolPlace({ owner, name }: { owner: string; name: string }, path: string): string {
  return sealedPlace(`tool/${owner}/${name}`, path);
}

/** The name under which the secrets of an MCP server are sealed. No tool can have it. */
export function sealedNameOfServer(server: string): string {
  return `mcp/${server}`;
}

/**
 * A stored tool, or MCP server, with its secrets, for the call. One without sealed secrets is returned as it is.
 * @param key null: this process has no MASTER_KEY, and opens only tools that have no sealed secret
 * @throws SealError, which quotes no secret
 */
export async function openTool(
  key: MasterKeys | null,
  { owner, name }: { owner: string; name: string },
  stored: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  const sealedSecrets = Object.entries(sealedOf(stored) ?? {});
  if (sealedSecrets.length === 0) return stored;
  const opened = sealedSecrets.map(async ([path, sealed]) => {
    if (!key) throw new SealError("this worker has no MASTER_KEY to open the secrets of the tool with");
    return [path, await unseal(key, sealed, toolPlace({ owner, name }, path))] as const;
  });
  return withSecrets(withoutSealed(stored), Object.fromEntries(await Promise.all(opened)));
}
