// An MCP server over standard streams, for tests. Its tools return its environment and its pid, and end its process.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const server = new McpServer({ name: "stdio", version: "1" });
const text = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });
server.registerTool("who", {}, async () => text({ pid: process.pid, env: Object.keys(process.env) }));
server.registerTool("die", {}, async () => process.exit(1));
await server.connect(new StdioServerTransport());
