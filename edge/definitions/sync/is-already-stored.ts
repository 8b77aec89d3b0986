import { masterKeysOf } from "../../../shared/security/master-keys.ts";
import type { DefinitionKind } from "../../../shared/contracts/definition/index.ts";
import type { Owner } from "../../../shared/contracts/tenant.ts";
import { SealError } from "../../../shared/security/seal.ts";
import { openTool, readStoredTool, sealedNameOfServer } from "../../../shared/security/sealed-tool.ts";
import type { OwnDefinition } from "../../../shared/store/definitions/own-definitions.ts";
import type { Services } from "../../services.ts";

/**
 * Whether a definition is stored with this text already, and not deleted. A secret has another text each time that it is sealed, so
 * tools and MCP servers are compared with their secrets unsealed. One that cannot be unsealed counts as different.
 */
export async function isAlreadyStored(
  { config }: Pick<Services, "config">,
  { kind, owner, id }: { kind: DefinitionKind; owner: Owner; id: string },
  stored: OwnDefinition | null,
  text: string,
): Promise<boolean> {
  if (stored === null || stored.is_deleted) return false;
  if (stored.definition === text) return true;
  if (kind !== "tools" && kind !== "mcp_servers") return false;
  const sealedAs = { owner, name: kind === "tools" ? id : sealedNameOfServer(id) };
  const open = async (definition: string): Promise<string> =>
    JSON.stringify(await openTool(masterKeysOf(config) ?? null, sealedAs, readStoredTool(definition)));
  try {
    return (await open(stored.definition)) === (await open(text));
  } catch (error) {
    if (error instanceof SealError) return false;
    throw error;
  }
}
