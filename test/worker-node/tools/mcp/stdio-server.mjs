// An MCP server over standard streams, for tests. Its tools return its environment and its pid, end its process, and
// return a long integer, which the library can only write as a rounded number.
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const server = new McpServer({ name: "stdio", version: "1" });
const text = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });
server.registerTool("who", {}, async () => text({ pid: process.pid, env: Object.keys(process.env) }));
server.registerTool("die", {}, async () => process.exit(1));
const structuredContent = { id: 77_077, long: "x" };
server.registerTool("long", {}, async () => ({ content: [], structuredContent }));
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (message, ...others) => {
  const sent = String(message).replace(":77077", ":12345678901234567890");
  // In two pieces, as a pipe may have them.
  write(sent.slice(0, 30));
  return write(sent.slice(30), ...others);
};
await server.connect(new StdioServerTransport());
