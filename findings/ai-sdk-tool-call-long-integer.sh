#!/usr/bin/env bash
# An integer of 64 bits in a tool call's arguments reaches the tool with other digits.
#
# Versions: ai 7.0.173, @ai-sdk/openai-compatible 3.0.92.
# Input: a complete tool call with the arguments {"id":725653563933458433}, as a model copies an id that it has read as text.
# Seen: the call's input is {"id":725653563933458400}, without an error part; the model later gets that number back as its own
# call. The pieces of `tool-input-delta` have the digits. See earendil-works/pi issue 8943.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai-compatible@3.0.92 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { jsonSchema, streamText, tool } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const chunk = (rest) => `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const choice = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }] });
const call = { index: 0, id: "k1", type: "function", function: { name: "lookup", arguments: '{"id":725653563933458433}' } };
const body = chunk(choice({ role: "assistant", tool_calls: [call] })) + chunk(choice({}, "tool_calls")) + "data: [DONE]\n\n";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const model = createOpenAICompatible({ name: "gateway", baseURL, apiKey: "none" }).chatModel("m");
const lookup = tool({ inputSchema: jsonSchema({ type: "object", properties: { id: { type: "integer" } } }) });
let written = "";
let input = "none";
let errors = 0;
for await (const part of streamText({ model, prompt: "go", tools: { lookup }, maxRetries: 0, onError() {} }).fullStream) {
  if (part.type === "tool-input-delta") written += part.delta;
  if (part.type === "tool-call") input = JSON.stringify(part.input);
  if (part.type === "error") errors += 1;
}
console.log(`written=${written} input=${input} errors=${errors}`);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'written={"id":725653563933458433} input={"id":725653563933458400} errors=0' seen
echo "as described"
