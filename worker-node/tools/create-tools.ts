import { z } from "zod";
import { parseTool } from "../../shared/contracts/definition/index.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { TerminalError, ToolRejection } from "../engine/errors.ts";
import type { Tools } from "../engine/ports.ts";
import type { Egress } from "../outbound/egress-guard.ts";
import { callHttpTool } from "./call-http-tool.ts";

const Args = z.record(z.string(), JsonValue);

/** Tools for the engine, which reach what `egress` lets through; `timeoutMs` of a call. */
export function createTools(egress: Egress, timeoutMs: number): Tools {
  return {
    async call({ tool, args, effectKey, signal }) {
      const parsed = parseTool(tool);
      if (!parsed.ok) throw new TerminalError("bad_tool", "the definition of the tool cannot be used");
      const given = Args.safeParse(args);
      if (!given.success) throw new ToolRejection("the arguments must be a JSON object");
      return callHttpTool(parsed.definition, given.data, { egress, timeoutMs, effectKey, signal });
    },
  };
}
