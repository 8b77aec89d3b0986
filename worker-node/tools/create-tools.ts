import { z } from "zod";
import { parseTool } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { TerminalError, ToolRejection } from "../engine/step-errors.ts";
import type { Tools } from "../engine/ports.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { callHttpTool } from "./call-http-tool.ts";

const Args = z.record(z.string(), JsonValue);

/** The engine's tools, behind the egress guard. `timeoutMs` limits one call. */
export function createTools(egress: Egress, timeoutMs: number): Tools {
  return {
    async call({ tool, args, effectKey, signal }) {
      const parsedTool = parseTool(tool);
      if (!parsedTool.ok) throw new TerminalError("bad_tool", "the definition of the tool cannot be used");
      const parsedArgs = Args.safeParse(args);
      if (!parsedArgs.success) throw new ToolRejection("the arguments must be a JSON object");
      return callHttpTool(parsedTool.definition, parsedArgs.data, { egress, timeoutMs, effectKey, signal });
    },
  };
}
