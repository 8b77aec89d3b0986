#!/usr/bin/env bash
# The official MCP client makes an empty success of a tool's result that has none of the protocol's members.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server of protocol 2025-06-18 whose tool answers with an object of its own, as hand-written servers do
# (samihalawa/mcp-server-smtp PR 4), or with `toolResult`, which the first protocol had (cloudflare/mcp-server-cloudflare #12).
# Seen: callTool() resolves, with an empty list as `content` and without `isError`. A reader of content gets "no output" of a call that
# has an answer; that answer is left under names that the type of the result does not have. A `content` that is a text rejects.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
const serverInfo = { name: "probe", version: "1" };
const initialize = { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo };
const called = async (answer) => {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method !== "POST") return response.writeHead(405).end();
    const { id, method } = JSON.parse(body);
    if (id === undefined) return response.writeHead(202).end();
    const result = method === "initialize" ? initialize : answer;
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client({ name: "probe", version: "1" });
  await client.connect(new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${server.address().port}/mcp`)));
  return client.callTool({ name: "add", arguments: {} }).then(
    (result) => JSON.stringify(result),
    () => "rejected",
  );
};
console.log(await called({ sum: 5 }), await called({ toolResult: { sum: 5 } }), await called({ content: "5" }));
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = '{"content":[],"sum":5} {"content":[],"toolResult":{"sum":5}} rejected' ]
echo "as described"
