#!/usr/bin/env bash
# The official MCP client refuses a whole list of tools for one field of one tool.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server of protocol 2025-11-25 that lists two tools, of which one has a description of null, as serializers write for what is
# not set, or an inputSchema without a type.
# Seen: listTools() rejects with all that its schemas find wrong, as JSON, and the other tool is lost.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
const good = { name: "good", inputSchema: { type: "object" } };
async function listed(other) {
  const http = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    if (request.method !== "POST") return response.writeHead(405).end();
    const { id, method } = JSON.parse(text);
    if (id === undefined) return response.writeHead(202).end();
    const hello = { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "probe", version: "1" } };
    const result = method === "tools/list" ? { tools: [good, other] } : hello;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const client = new Client({ name: "probe", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${http.address().port}/mcp`)));
  return client.listTools().then(
    ({ tools }) => tools.length,
    (error) => error.code,
  );
}
console.log(
  `both-good=${await listed(good)} null=${await listed({ ...good, description: null })} no-type=${await listed({ name: "other", inputSchema: {} })}`,
);
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "both-good=2 null=INVALID_RESULT no-type=INVALID_RESULT" ]
echo "as described"
