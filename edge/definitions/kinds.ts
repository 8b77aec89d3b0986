import type { Kind } from "../../shared/store/definitions/stored-definition.ts";

/**
 * How the API names each kind of definition. `path`: its part of a URL. `operation`: its part of an operation's id. `one`, `many`: the
 * noun in a sentence.
 */
export const kindNames: { [K in Kind]: { path: string; operation: string; one: string; many: string } } = {
  agents: { path: "agents", operation: "Agent", one: "agent", many: "agents" },
  tools: { path: "tools", operation: "Tool", one: "tool", many: "tools" },
  mcp_servers: { path: "mcp-servers", operation: "McpServer", one: "MCP server", many: "MCP servers" },
};
