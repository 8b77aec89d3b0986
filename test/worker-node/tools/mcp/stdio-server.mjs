// An MCP server over standard streams, for tests: says which environment and process it has, and ends when it is told to.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const server = new McpServer({ name: "stdio", version: "1" });
const text = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });
server.registerTool("who", {}, async () => text({ pid: process.pid, env: Object.keys(process.env) }));
server.registerTool("die", {}, async () => process.exit(1));
await server.connect(new StdioServerTransport());
