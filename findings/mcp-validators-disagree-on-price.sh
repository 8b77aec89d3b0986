#!/usr/bin/env bash
# The MCP client refuses a price of 19.99 in Node and takes it in Cloudflare Workers, under the same schema `multipleOf: 0.01`.
#
# Version: @modelcontextprotocol/client 2.4.0, which has one validator for Node (Ajv) and one for Workers, and takes them by platform.
# Input: a tool whose output schema has a price in steps of a cent, results with prices of 19.98 and 19.99, and a client with each.
# Seen: with Node's validator the call of 19.98 resolves and that of 19.99 rejects, although the tool has run; with that of Workers
# both resolve. A tool that was tested in one place fails in the other, for some prices only.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 @modelcontextprotocol/server@2.4.0 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { Client, InMemoryTransport } from "@modelcontextprotocol/client";
import { AjvJsonSchemaValidator } from "@modelcontextprotocol/client/validators/ajv";
import { CfWorkerJsonSchemaValidator } from "@modelcontextprotocol/client/validators/cf-worker";
import { Server } from "@modelcontextprotocol/server";
const outputSchema = { type: "object", properties: { price: { type: "number", multipleOf: 0.01 } } };
let ran = 0;
async function connect(jsonSchemaValidator) {
  const server = new Server({ name: "shop", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", () => ({ tools: [{ name: "buy", inputSchema: { type: "object" }, outputSchema }] }));
  server.setRequestHandler("tools/call", ({ params }) => {
    ran += 1;
    return { content: [], structuredContent: { price: params.arguments.price } };
  });
  const client = new Client({ name: "probe", version: "1" }, jsonSchemaValidator && { jsonSchemaValidator });
  const [here, there] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(there), client.connect(here)]);
  await client.listTools();
  return (price) => client.callTool({ name: "buy", arguments: { price } }).then(() => "resolves", () => "rejects");
}
for (const [name, validator] of [
  ["default in Node", undefined],
  ["Node's", new AjvJsonSchemaValidator()],
  ["Workers'", new CfWorkerJsonSchemaValidator()],
]) {
  const buy = await connect(validator);
  console.log(`${name}: 19.98 ${await buy(19.98)}, 19.99 ${await buy(19.99)}`);
}
console.log(`calls that ran: ${ran}`);
JS
node probe.mjs | tee seen
grep -qx "default in Node: 19.98 resolves, 19.99 rejects" seen
grep -qx "Node's: 19.98 resolves, 19.99 rejects" seen
grep -qx "Workers': 19.98 resolves, 19.99 resolves" seen
grep -qx "calls that ran: 6" seen
echo "as described"
