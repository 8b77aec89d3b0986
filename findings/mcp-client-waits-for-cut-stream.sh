#!/usr/bin/env bash
# The official MCP client does not end a request whose stream ends without the response: the request waits for its whole time limit.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server of protocol 2025-11-25 that begins a stream of events for tools/call, writes a comment and ends it, without an event id
# by which it could be resumed.
# Seen: after 3 s the request is still pending, while onRequestStreamEnd of the transport's send has been called; no handler got an error.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { setTimeout } from "node:timers/promises";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
const http = createServer(async (request, response) => {
  let text = "";
  for await (const part of request) text += part;
  if (request.method !== "POST") return response.writeHead(405).end();
  const { id, method } = JSON.parse(text);
  if (id === undefined) return response.writeHead(202).end();
  if (method === "tools/call") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    return response.end(": nothing more\n\n");
  }
  const result = { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "probe", version: "1" } };
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ jsonrpc: "2.0", id, result }));
});
await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
const transport = new StreamableHTTPClientTransport(new URL(`http://127.0.0.1:${http.address().port}/mcp`));
const client = new Client({ name: "probe", version: "1" });
await client.connect(transport);
let ended = false;
let errors = 0;
client.onerror = () => (errors += 1);
const send = transport.send.bind(transport);
transport.send = (message, options) => send(message, { ...options, onRequestStreamEnd: () => (ended = true) });
const call = client.callTool({ name: "report", arguments: {} }).then(() => "answered", () => "failed");
console.log(`call=${await Promise.race([call, setTimeout(3_000, "pending")])} stream-ended=${ended} errors=${errors}`);
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "call=pending stream-ended=true errors=0" ]
echo "as described"
