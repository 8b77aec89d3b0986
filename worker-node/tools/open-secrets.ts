import { SealError } from "../../shared/security/seal.ts";
import type { MasterKeys } from "../../shared/security/master-keys.ts";
import { openTool } from "../../shared/security/sealed-tool.ts";
import { RetryableError } from "../engine/step-errors.ts";

/**
 * A stored tool or MCP server with its secrets. Those of a tool are kept for a minute (opened-tools.ts), those of a server for one call; a
 * connection that is kept for later calls of a server keeps the server's headers (mcp/connection-pool.ts). No other part of a worker has them.
 * @throws RetryableError `tool_sealed`: another try may run on a worker that has the right key
 */
export async function openSecrets(
  masterKey: MasterKeys | null,
  sealedAs: { owner: string; name: string },
  stored: Record<string, unknown>,
): Promise<Record<string, unknown>> {
  try {
    return await openTool(masterKey, sealedAs, stored);
  } catch (cause) {
    if (!(cause instanceof SealError)) throw cause;
    throw new RetryableError(
      "tool_sealed",
      "the secrets of the tool cannot be opened: MASTER_KEY is missing, or is not the key that sealed them",
      { cause },
    );
  }
}
