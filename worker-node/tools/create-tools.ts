import { z } from "zod";
import { parseTool } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import { SealError } from "../../shared/security/seal.ts";
import type { MasterKey } from "../../shared/security/seal.ts";
import { openTool } from "../../shared/security/sealed-tool.ts";
import { RetryableError, TerminalError, ToolRejection } from "../engine/step-errors.ts";
import type { Tools } from "../engine/ports.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { callHttpTool } from "./call-http-tool.ts";

const Args = z.record(z.string(), JsonValue);

/** The name and the owner of a tool, which its row adds to the definition. */
const Row = z.object({ name: z.string(), owner: z.string().default(SHARED) });

/**
 * The engine's tools, behind the egress guard. `timeoutMs` limits one call. The secrets of a tool are opened here, for the
 * call alone: no other part of a worker has them.
 * @param masterKey null: this worker has none, and cannot call a tool with a sealed secret
 */
export function createTools(egress: Egress, timeoutMs: number, masterKey: MasterKey | null): Tools {
  return {
    async call({ tool, args, effectKey, signal }) {
      const parsedTool = parseTool(await opened(masterKey, tool));
      if (!parsedTool.ok) throw new TerminalError("bad_tool", "the definition of the tool cannot be used");
      const parsedArgs = Args.safeParse(args);
      if (!parsedArgs.success) throw new ToolRejection("the arguments must be a JSON object");
      return callHttpTool(parsedTool.definition, parsedArgs.data, { egress, timeoutMs, effectKey, signal });
    },
  };
}

async function opened(masterKey: MasterKey | null, stored: JsonObject): Promise<Record<string, unknown>> {
  try {
    return await openTool(masterKey, Row.parse(stored), stored);
  } catch (cause) {
    if (!(cause instanceof SealError)) throw cause;
    // Another try may run on a worker that has the right key.
    throw new RetryableError(
      "tool_sealed",
      "the secrets of the tool cannot be opened: MASTER_KEY is missing, or another one",
      { cause },
    );
  }
}
