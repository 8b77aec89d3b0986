import { isObject } from "../../shared/contracts/json.ts";
import { TerminalError, ToolRejection } from "../engine/step-errors.ts";
import type { Tools } from "../engine/ports.ts";
import { getDatetime } from "./built-in/get-datetime.ts";
import { httpRequest } from "./built-in/http-request.ts";
import { sendEmail } from "./built-in/send-email.ts";
import type { Outbox } from "./built-in/send-email.ts";
import { callHttpTool } from "./call-http-tool.ts";
import { McpTools } from "./mcp/mcp-tools.ts";
import type { McpToolsDeps } from "./mcp/mcp-tools.ts";
import { OpenedTools } from "./opened-tools.ts";
import { KeptConnections } from "../outbound/kept-connections.ts";
import { SqlProcesses } from "./sql/sql-processes.ts";

/**
 * The engine's tools, behind the egress guard. `timeoutMs` limits one call. The secrets of a tool are opened here: no other part of a
 * worker has them.
 * @param deps `masterKey` null: this worker has none, and cannot call a tool with a sealed secret.
 */
export function createTools(
  deps: McpToolsDeps & { mail: Outbox },
): Tools & { mcp: McpTools; sql: SqlProcesses } {
  const { egress, timeoutMs, masterKey, mail } = deps;
  const opened = new OpenedTools(masterKey);
  const mcp = new McpTools(deps);
  const sql = new SqlProcesses();
  const connections = new KeptConnections();
  return {
    mcp,
    sql,
    toolsOf: ({ server, signal }) => mcp.toolsOf(server, signal),
    callMcp: (request) => mcp.call(request),
    async call({ tenantId, tool, args, effectKey, signal, files, traceparent, correlationId }) {
      if (!isObject(args)) throw new ToolRejection("the arguments must be a JSON object");
      const limits = {
        egress,
        connections: connections.of(tenantId),
        timeoutMs,
        effectKey,
        signal,
        ...(traceparent !== undefined && { traceparent }),
        ...(correlationId !== undefined && { correlationId }),
      };
      if (tool["tool_type"] === "built_in") {
        if (tool["name"] === "get_datetime") return getDatetime(args, new Date());
        if (tool["name"] === "http_request") return httpRequest(args, limits);
        if (tool["name"] === "send_email") return sendEmail(mail, args, effectKey);
      }
      const found = opened.of(tool);
      const parsedTool = found instanceof Promise ? await found : found;
      if (!parsedTool.ok) throw new TerminalError("bad_tool", "the definition of the tool cannot be used");
      const { definition } = parsedTool;
      if (definition.tool_type === "sql") {
        return sql.query(definition, args, { tenantId, allow: egress.allow, timeoutMs, signal });
      }
      return callHttpTool(definition, args, { ...limits, files });
    },
  };
}
