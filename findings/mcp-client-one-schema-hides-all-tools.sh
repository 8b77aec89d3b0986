#!/usr/bin/env bash
# One tool whose output schema has a pattern with `\-` takes all tools of its server from the client of @modelcontextprotocol/sdk.
#
# Versions: @modelcontextprotocol/sdk 1.32.2, @modelcontextprotocol/client 2.4.0.
# Input: two tools. The output schema of one has the pattern of a phone number, `^\d{3}\-\d{4}$`: RegExp reads it, but
# not with the flag `u`, with which the client compiles every output schema when the tools are listed.
# Seen: listTools() of 1.32.2 rejects, so the model is offered no tool of the server. listTools() of 2.4.0 gives both; there
# the tool with the pattern alone cannot be called, not even where its result has no phone number.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/sdk@1.32.2 @modelcontextprotocol/client@2.4.0 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { Client as NewClient, InMemoryTransport } from "@modelcontextprotocol/client";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";
const tool = (name, properties) => ({ name, inputSchema: { type: "object" }, outputSchema: { type: "object", properties } });
const phone = { type: "string", pattern: "^\\d{3}\\-\\d{4}$" };
const tools = [tool("weather", { city: { type: "string" } }), tool("contact", { city: { type: "string" }, phone })];
console.log(`RegExp: ${new RegExp(phone.pattern).test("555-0100")}`);
for (const [name, Made] of [["sdk 1.32.2", Client], ["client 2.4.0", NewClient]]) {
  const server = new Server({ name: "probe", version: "1" }, { capabilities: { tools: {} } });
  server.setRequestHandler(ListToolsRequestSchema, () => ({ tools }));
  server.setRequestHandler(CallToolRequestSchema, () => ({ content: [], structuredContent: { city: "Oslo" } }));
  const client = new Made({ name: "probe", version: "1" });
  const [here, there] = InMemoryTransport.createLinkedPair();
  await Promise.all([server.connect(there), client.connect(here)]);
  const listed = await client.listTools().then((list) => list.tools.map((item) => item.name).join(","), () => "rejected");
  const call = (called) => client.callTool({ name: called, arguments: {} }).then(() => "answered", () => "rejected");
  console.log(`${name}: list ${listed}, weather ${await call("weather")}, contact ${await call("contact")}`);
}
JS
node probe.mjs | tee seen
grep -qx 'RegExp: true' seen
grep -qx 'sdk 1.32.2: list rejected, weather answered, contact answered' seen
grep -qx 'client 2.4.0: list weather,contact, weather answered, contact rejected' seen
echo "as described"
