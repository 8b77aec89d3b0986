// An MCP server over standard streams, for tests. Its tools return its environment and its pid, end its process,
// return a long integer, which the library can only write as a rounded number, and make a task that has a result at once.
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";

const taskStore = new InMemoryTaskStore();
const tasks = { requests: { tools: { call: {} } }, cancel: {}, list: {} };
const server = new McpServer({ name: "stdio", version: "1" }, { capabilities: { tasks }, taskStore });
const text = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });
server.registerTool("who", {}, async () => text({ pid: process.pid, env: Object.keys(process.env) }));
server.registerTool("die", {}, async () => process.exit(1));
const structuredContent = { id: 77_077, long: "x" };
server.registerTool("long", {}, async () => ({ content: [], structuredContent }));
server.experimental.tasks.registerToolTask(
  "report",
  { inputSchema: {}, execution: { taskSupport: "required" } },
  {
    createTask: async (_, { taskStore: store }) => {
      const task = await store.createTask({ pollInterval: 500 });
      await taskStore.storeTaskResult(task.taskId, "completed", text("the report"));
      return { task };
    },
    getTask: async (_, { taskId, taskStore: store }) => store.getTask(taskId),
    getTaskResult: async (_, { taskId, taskStore: store }) => store.getTaskResult(taskId),
  },
);
const write = process.stdout.write.bind(process.stdout);
// .NET writes a byte order mark before the first message.
write("\ufeff");
process.stdout.write = (message, ...others) => {
  const sent = String(message).replace(":77077", ":12345678901234567890");
  // In two pieces, as a pipe may have them.
  write(sent.slice(0, 30));
  return write(sent.slice(30), ...others);
};
await server.connect(new StdioServerTransport());
