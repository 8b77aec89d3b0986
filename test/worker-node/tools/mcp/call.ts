import { RunId, TenantId } from "../../../../shared/contracts/ids.ts";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import type { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";

/** The effect key of a test's calls. */
const KEY = "run_1:s:1:tool.1";

/** The value of a call that neither asks nor becomes a task. `signal`: ends the call when it is aborted. */
export async function valueOf(
  tools: McpTools,
  tool: JsonObject,
  args: JsonObject,
  signal: AbortSignal = new AbortController().signal,
): Promise<Json> {
  const request = {
    runId: RunId.parse("run_2483e1773407_1780499750067"),
    tenantId: TenantId.parse("acme"),
    tool,
    args,
    effectKey: KEY,
    signal,
    pending: null,
    answers: {},
  };
  const outcome = await tools.call(request);
  if (outcome.is === "result") return outcome.value;
  throw new Error(`the call waits: ${JSON.stringify(outcome.pending)}`);
}
