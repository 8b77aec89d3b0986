#!/usr/bin/env bash
# @ai-sdk/anthropic asks for a beta and for streamed arguments with every tool, also where nothing is asked for but the tool.
#
# Versions: ai 7.0.173, @ai-sdk/anthropic 4.0.105.
# Input: one stream of claude-haiku-4-5 with one tool that has a description and a schema.
# Seen: the header `anthropic-beta` is "structured-outputs-2025-11-13", and the tool has `"eager_input_streaming": true`. Bedrock, Vertex AI
# and gateways in front of them refuse betas and fields that they do not know, and with them each request that offers a tool
# (BerriAI/litellm #18145, anthropics/claude-agent-sdk-python #694).
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/anthropic@4.0.105 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { jsonSchema, streamText } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
globalThis.AI_SDK_LOG_WARNINGS = false;
const server = createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    console.log(`beta: ${request.headers["anthropic-beta"]}`);
    console.log(`tool: ${Object.keys(JSON.parse(body).tools[0]).join(" ")}`);
    response.writeHead(400, { "content-type": "application/json" });
    response.end('{"type":"error","error":{"type":"invalid_request_error","message":"seen"}}');
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const anthropic = createAnthropic({ baseURL: `http://127.0.0.1:${server.address().port}/v1`, apiKey: "none" });
const inputSchema = jsonSchema({ type: "object", properties: { q: { type: "string" } } });
const tools = { lookup: { description: "Looks up.", inputSchema } };
const { stream } = streamText({ model: anthropic("claude-haiku-4-5"), prompt: "go", tools, maxRetries: 0, onError: () => {} });
for await (const _ of stream);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'beta: structured-outputs-2025-11-13' seen
grep -qx 'tool: name description input_schema eager_input_streaming' seen
echo "as described"
