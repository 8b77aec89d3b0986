#!/usr/bin/env bash
# A tool call that a gateway streams without `index` is lost by @ai-sdk/openai, and read by @ai-sdk/openai-compatible.
#
# Versions: ai 7.0.173, @ai-sdk/openai 4.0.118, @ai-sdk/openai-compatible 3.0.92.
# Input: one chunk with one complete tool call that has id, name and arguments but no `index` (some OpenAI-compatible
# servers send it so), then `finish_reason` "tool_calls" and [DONE].
# Seen: `openai` gives an error part (the chunk does not fit its schema) and then the finish reason "tool-calls" without a
# tool call: a program that goes by the finish reason waits for a call that never comes. `openai-compatible` gives the call.
# The script fails when either behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/openai-compatible@3.0.92 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { jsonSchema, streamText, tool } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const chunk = (rest) => `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const call = { id: "k1", type: "function", function: { name: "lookup", arguments: '{"q":"a"}' } };
const body =
  chunk({ choices: [{ index: 0, delta: { role: "assistant", tool_calls: [call] }, finish_reason: null }] }) +
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: "tool_calls" }] }) +
  "data: [DONE]\n\n";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const models = {
  openai: createOpenAI({ baseURL, apiKey: "none" }).chat("m"),
  compatible: createOpenAICompatible({ name: "gateway", baseURL, apiKey: "none" }).chatModel("m"),
};
const lookup = tool({ inputSchema: jsonSchema({ type: "object", properties: { q: { type: "string" } } }) });
for (const [name, model] of Object.entries(models)) {
  let calls = 0;
  let errors = 0;
  let finish = "none";
  const { stream, fullStream } = streamText({ model, prompt: "go", tools: { lookup }, maxRetries: 0, onError() {} });
  for await (const part of fullStream ?? stream) {
    if (part.type === "tool-call") calls += 1;
    if (part.type === "error") errors += 1;
    if (part.type === "finish") finish = part.finishReason;
  }
  console.log(`${name}: calls=${calls} errors=${errors} finish=${finish}`);
}
server.close();
JS
node probe.mjs | tee seen
grep -q '^openai: calls=0 errors=1 finish=tool-calls$' seen
grep -q '^compatible: calls=1 errors=0 finish=tool-calls$' seen
echo "as described"
