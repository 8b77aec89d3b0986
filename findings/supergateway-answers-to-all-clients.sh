#!/usr/bin/env bash
# supergateway, which serves one stdio process to several SSE clients, sends each answer of the process to all of them.
#
# Version: supergateway 4.0.0.
# Input: two SSE clients; the second one sends a request with the id 7.
# Seen: the first client, which has sent nothing, receives the answer with the id 7 too. Clients whose requests have the same ids, as those of
# the official SDK, take each other's answers.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund supergateway@4.0.0 @modelcontextprotocol/server-memory@2026.8.31 >/dev/null
port=$(node -e 'const s = require("net").createServer().listen(0, () => { console.log(s.address().port); s.close(); })')
node node_modules/.bin/supergateway --stdio "node node_modules/@modelcontextprotocol/server-memory/dist/index.js" --port "$port" >gateway.log 2>&1 &
gateway=$!
trap 'kill $gateway; rm -rf "$dir"' EXIT
cat > probe.mjs <<'JS'
import { setTimeout } from "node:timers/promises";
const base = `http://127.0.0.1:${process.argv[2]}`;
async function client() {
  let response;
  for (let tries = 0; response === undefined && tries < 50; tries += 1)
    response = await fetch(`${base}/sse`).catch(() => setTimeout(200));
  const seen = { text: "" };
  void (async () => {
    for await (const chunk of response.body) seen.text += new TextDecoder().decode(chunk);
  })();
  while (!/data: \S+\n/.test(seen.text)) await setTimeout(50);
  return { seen, endpoint: new URL(/data: (\S+)\n/.exec(seen.text)[1], base) };
}
const first = await client();
const second = await client();
const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "probe", version: "1" } };
const body = JSON.stringify({ jsonrpc: "2.0", id: 7, method: "initialize", params });
await fetch(second.endpoint, { method: "POST", headers: { "content-type": "application/json" }, body });
while (!second.seen.text.includes('"id":7')) await setTimeout(50);
await setTimeout(500);
console.log(`second=${second.seen.text.includes('"id":7')} first=${first.seen.text.includes('"id":7')}`);
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs "$port")
echo "$seen"
[ "$seen" = "second=true first=true" ]
echo "as described"
