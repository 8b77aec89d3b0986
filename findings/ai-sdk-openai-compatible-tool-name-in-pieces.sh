#!/usr/bin/env bash
# A tool call whose name is streamed in two pieces becomes two calls with broken names in @ai-sdk/openai-compatible.
#
# Versions: ai 7.0.173, @ai-sdk/openai-compatible 3.0.92.
# Input: a stream of the Chat Completions API. Its deltas of one call have the same `index`, and the parts of `function.name`
# are to be joined as those of `function.arguments` are. Servers that stream a model's raw tokens send names in pieces.
# Seen: two tool calls, "get_" and "weather", none of which is an offered tool; the finish reason is "tool-calls".
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai-compatible@3.0.92 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { jsonSchema, streamText, tool } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const chunk = (delta, finish_reason = null) => ({
  id: "c", object: "chat.completion.chunk", created: 1, model: "x", choices: [{ index: 0, delta, finish_reason }],
});
const part = (fields) => chunk({ tool_calls: [{ index: 0, ...fields }] });
const body = [
  part({ id: "call_1", type: "function", function: { name: "get_", arguments: "" } }),
  part({ function: { name: "weather", arguments: "" } }),
  part({ function: { arguments: '{"city":"Oslo"}' } }),
  chunk({}, "tool_calls"),
]
  .map((event) => `data: ${JSON.stringify(event)}\n\n`)
  .join("") + "data: [DONE]\n\n";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const model = createOpenAICompatible({ name: "gateway", baseURL })("x");
const get_weather = tool({ inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } } }) });
const calls = [];
let end = "none";
for await (const event of streamText({ model, prompt: "go", tools: { get_weather }, maxRetries: 0, onError() {} }).fullStream) {
  if (event.type === "tool-call") calls.push(event.toolName);
  if (event.type === "finish") end = event.finishReason;
}
console.log(`calls=${calls.join(",")} finish=${end}`);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'calls=get_,weather finish=tool-calls' seen
echo "as described"
