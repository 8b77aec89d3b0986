#!/usr/bin/env bash
# A server that asks for 61 seconds of rest is called again by the openai package within a second; one that asks for 60 is left alone.
#
# Versions: openai 7.59.0, @anthropic-ai/sdk 1.14.0.
# Input: a server that answers 429 with `Retry-After`, and the defaults of both clients.
# Seen: openai waits at 60, but a longer time counts as none, and its own backoff (half a second at first) takes its place: the two
# retries are used up while the limit still holds, and both count against it. @anthropic-ai/sdk waits for 61 seconds as well.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund openai@7.59.0 @anthropic-ai/sdk@1.14.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
const messages = [{ role: "user", content: "go" }];
const clients = {
  openai: (baseURL) => new OpenAI({ apiKey: "none", baseURL }).chat.completions.create({ model: "x", messages }),
  anthropic: (baseURL) => new Anthropic({ apiKey: "none", baseURL }).messages.create({ model: "x", max_tokens: 9, messages }),
};
async function see(name, seconds) {
  let calls = 0;
  const server = createServer((request, response) => {
    calls += 1;
    request.resume().on("end", () => {
      response.writeHead(429, { "retry-after": `${seconds}`, "content-type": "application/json" });
      response.end('{"error":{"message":"busy"}}');
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const rejected = clients[name](`http://127.0.0.1:${server.address().port}`).catch((error) => `rejected with ${error.status}`);
  const waiting = new Promise((resolve) => setTimeout(resolve, 15_000, "still waiting"));
  const end = await Promise.race([rejected, waiting]);
  return `${name}, Retry-After ${seconds}: ${calls} calls in 15 s, ${end}`;
}
const lines = await Promise.all([see("openai", 60), see("openai", 61), see("anthropic", 61)]);
console.log(lines.join("\n"));
process.exit(0);
JS
node probe.mjs | tee seen
grep -qx 'openai, Retry-After 60: 1 calls in 15 s, still waiting' seen
grep -qx 'openai, Retry-After 61: 3 calls in 15 s, rejected with 429' seen
grep -qx 'anthropic, Retry-After 61: 1 calls in 15 s, still waiting' seen
echo "as described"
