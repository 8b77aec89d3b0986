#!/usr/bin/env bash
# The official MCP client refuses a result of the type "task" before it reads any schema, so an extension cannot receive one.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server of protocol 2026-07-28 that answers tools/call with {"resultType": "task", "taskId": …}, as the extension for tasks
# says, and client.request() with a schema that accepts everything.
# Seen: the request is rejected with UNSUPPORTED_RESULT_TYPE, and the schema's own check was never called.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { z } from "zod";
const task = { resultType: "task", taskId: "task-1", status: "working", ttlMs: 60000, createdAt: "2026-08-01T00:00:00Z", lastUpdatedAt: "2026-08-01T00:00:00Z" };
const discovered = {
  resultType: "complete",
  supportedVersions: ["2026-07-28"],
  capabilities: { tools: {}, extensions: { "io.modelcontextprotocol/tasks": {} } },
  serverInfo: { name: "probe", version: "1" },
  ttlMs: 0,
  cacheScope: "private",
};
let calls = 0;
const http = createServer(async (request, response) => {
  let text = "";
  for await (const part of request) text += part;
  const { id, method } = text === "" ? {} : JSON.parse(text);
  if (method === "tools/call") calls += 1;
  const result = method === "server/discover" ? discovered : method === "tools/call" ? task : null;
  response.writeHead(result ? 200 : 202, { "content-type": "application/json" });
  response.end(result ? JSON.stringify({ jsonrpc: "2.0", id, result }) : "");
});
await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
const client = new Client({ name: "probe", version: "1" }, { versionNegotiation: { mode: "auto" } });
await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${http.address().port}/mcp`)));
let checked = false;
const anything = z.looseObject({}).refine(() => (checked = true));
const seen = await client.request({ method: "tools/call", params: { name: "report", arguments: {} } }, anything).then(
  () => "accepted",
  (error) => `${error.code}`,
);
console.log(`era=${client.getProtocolEra()} calls=${calls} request=${seen} schema-read=${checked}`);
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "era=modern calls=1 request=UNSUPPORTED_RESULT_TYPE schema-read=false" ]
echo "as described"
