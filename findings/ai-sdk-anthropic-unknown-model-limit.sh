#!/usr/bin/env bash
# @ai-sdk/anthropic limits the answers of every model that it does not know to 4,096 tokens, also where no limit is asked for.
#
# Versions: ai 7.0.173, @ai-sdk/anthropic 4.0.105.
# Input: two calls without a limit to a server of Anthropic's Messages API, of claude-haiku-4-5 and of a model with another name. DeepSeek,
# Moonshot, Zhipu and MiniMax serve their models by this API, and gateways any model.
# Seen: `max_tokens` is 64000 for the known model and 4096 for the other one. A longer answer ends with the finish reason "length".
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/anthropic@4.0.105 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { generateText } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
globalThis.AI_SDK_LOG_WARNINGS = false;
const answer = {
  id: "m",
  type: "message",
  role: "assistant",
  model: "x",
  content: [{ type: "text", text: "fine" }],
  stop_reason: "end_turn",
  stop_sequence: null,
  usage: { input_tokens: 1, output_tokens: 1 },
};
const limits = [];
const server = createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    limits.push(JSON.parse(body).max_tokens);
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(answer));
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const anthropic = createAnthropic({ baseURL: `http://127.0.0.1:${server.address().port}/v1`, apiKey: "none" });
for (const name of ["claude-haiku-4-5", "kimi-k2"]) await generateText({ model: anthropic(name), prompt: "go", maxRetries: 0 });
console.log(`limits: ${limits.join(" ")}`);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'limits: 64000 4096' seen
echo "as described"
