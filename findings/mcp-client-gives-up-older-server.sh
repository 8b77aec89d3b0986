#!/usr/bin/env bash
# A client that negotiates the protocol gives up an older MCP server for its reply to a method that did not exist when it was written.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server of protocol 2025-11-25 over HTTP that answers `initialize` and `tools/list`. To `server/discover`, with which a client of
# mode `auto` asks for protocol 2026-07-28, it replies as older servers do: `Method not found`, HTTP 400, HTTP 500 (the Java SDK without
# sessions: open-metadata/OpenMetadata #32213), an error whose id is null, or an empty body.
# Seen: the client falls back to `initialize` after the first two. After the others connect() rejects with ERA_NEGOTIATION_FAILED, and
# `initialize` is never sent. In mode `legacy` the same server is used.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
const type = { "content-type": "application/json" };
const error = { code: -32601, message: "Method not found" };
const replies = {
  "method not found": (response, id) => response.writeHead(200, type).end(JSON.stringify({ jsonrpc: "2.0", id, error })),
  "HTTP 400": (response) => response.writeHead(400).end("Bad Request"),
  "HTTP 500": (response) => response.writeHead(500).end("Internal Server Error"),
  "id null": (response) => response.writeHead(200, type).end(JSON.stringify({ jsonrpc: "2.0", id: null, error })),
  "empty body": (response) => response.writeHead(200, type).end(),
};
const serverInfo = { name: "older", version: "1" };
const results = {
  initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo },
  "tools/list": { tools: [{ name: "a", inputSchema: { type: "object" } }] },
};
const listed = async (mode, reply) => {
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    if (request.method !== "POST") return response.writeHead(405).end();
    const { id, method } = JSON.parse(body);
    if (id === undefined) return response.writeHead(202).end();
    const result = results[method];
    if (result === undefined) return reply(response, id);
    response.writeHead(200, type).end(JSON.stringify({ jsonrpc: "2.0", id, result }));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const client = new Client({ name: "probe", version: "1" }, { versionNegotiation: { mode } });
  const url = new URL(`http://127.0.0.1:${server.address().port}/mcp`);
  try {
    await client.connect(new StreamableHTTPClientTransport(url));
    return (await client.listTools()).tools.map((tool) => tool.name).join(",");
  } catch (caught) {
    return caught.code;
  } finally {
    await client.close();
    server.closeAllConnections();
    server.close();
  }
};
for (const [name, reply] of Object.entries(replies))
  console.log(`${name}: auto ${await listed("auto", reply)}, legacy ${await listed("legacy", reply)}`);
JS
node probe.mjs | tee seen
grep -qx 'method not found: auto a, legacy a' seen
grep -qx 'HTTP 400: auto a, legacy a' seen
grep -qx 'HTTP 500: auto ERA_NEGOTIATION_FAILED, legacy a' seen
grep -qx 'id null: auto ERA_NEGOTIATION_FAILED, legacy a' seen
grep -qx 'empty body: auto ERA_NEGOTIATION_FAILED, legacy a' seen
echo "as described"
