#!/usr/bin/env bash
# A task of the official MCP server is bound to the session that made it: any other session is told that there is no such task.
#
# Version: @modelcontextprotocol/sdk 1.32.2.
# Input: one InMemoryTaskStore for all sessions, a task that session A creates, then tasks/get by A and by a second session B.
# Seen: A gets the task, B an error whose message has "Task not found". A client that lost its session cannot ask for its own tasks.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2 >/dev/null
cat > probe.mjs <<'JS'
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
const store = new InMemoryTaskStore();
const sessions = new Map();
let created = "";
const http = createServer(async (request, response) => {
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known) return known.handleRequest(request, response);
  const transport = new StreamableHTTPServerTransport({
    sessionIdGenerator: () => randomUUID(),
    enableJsonResponse: true,
    onsessioninitialized: (id) => void sessions.set(id, transport),
  });
  const capabilities = { tasks: { requests: { tools: { call: {} } } } };
  const server = new McpServer({ name: "tasks", version: "1" }, { capabilities, taskStore: store });
  server.experimental.tasks.registerToolTask(
    "report",
    { description: "Takes long", inputSchema: {}, execution: { taskSupport: "required" } },
    {
      createTask: async (_args, { taskStore }) => {
        const task = await taskStore.createTask({ ttl: 60_000 });
        created = task.taskId;
        return { task };
      },
      getTask: (_args, { taskId, taskStore }) => taskStore.getTask(taskId),
      getTaskResult: (_args, { taskId, taskStore }) => taskStore.getTaskResult(taskId),
    },
  );
  await server.connect(transport);
  await transport.handleRequest(request, response);
});
await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${http.address().port}/mcp`;
let number = 0;
async function rpc(session, method, params) {
  const headers = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    ...(session && { "mcp-session-id": session, "mcp-protocol-version": "2025-11-25" }),
  };
  const body = JSON.stringify({ jsonrpc: "2.0", id: ++number, method, params });
  const answer = await fetch(url, { method: "POST", headers, body });
  return { session: answer.headers.get("mcp-session-id"), body: await answer.json() };
}
const clientInfo = { name: "probe", version: "1" };
const open = async () =>
  (await rpc(null, "initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo })).session;
const [a, b] = [await open(), await open()];
await rpc(a, "tools/call", { name: "report", arguments: {}, task: { ttl: 60_000 } });
const ofA = (await rpc(a, "tasks/get", { taskId: created })).body;
const ofB = (await rpc(b, "tasks/get", { taskId: created })).body;
console.log(`maker: ${ofA.result?.status}; other session: ${/Task not found/.test(ofB.error?.message) ? "Task not found" : JSON.stringify(ofB)}`);
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "maker: working; other session: Task not found" ]
echo "as described"
