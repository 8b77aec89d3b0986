#!/usr/bin/env bash
# An error that a gateway reports in a chunk beside `choices` is an answer for @ai-sdk/openai, and an error for
# @ai-sdk/openai-compatible.
#
# Versions: ai 7.0.173, @ai-sdk/openai 4.0.118, @ai-sdk/openai-compatible 3.0.92.
# Input: a stream as OpenRouter documents it for errors after the first token: a text delta, then a chunk with a top-level
# `error` and a choice whose `finish_reason` is "error", then [DONE].
# Seen: `openai` ends the stream with finish reason "other" and no error part, so a program that looks for error parts
# takes half a text for the whole one. `openai-compatible` reports an error part with status 400.
# The script fails when either behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/openai-compatible@3.0.92 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { streamText } from "ai";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const chunk = (rest) => `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const body =
  chunk({ choices: [{ index: 0, delta: { role: "assistant", content: "Half" }, finish_reason: null }] }) +
  chunk({ error: { code: 400, message: "bad" }, choices: [{ index: 0, delta: { content: "" }, finish_reason: "error" }] }) +
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
for (const [name, model] of Object.entries(models)) {
  let text = "";
  let errors = 0;
  let finish = "none";
  const { stream, fullStream } = streamText({ model, prompt: "go", maxRetries: 0, onError() {} });
  for await (const part of fullStream ?? stream) {
    if (part.type === "text-delta") text += part.text ?? part.delta ?? "";
    if (part.type === "error") errors += 1;
    if (part.type === "finish") finish = part.finishReason;
  }
  console.log(`${name}: text=${text} errors=${errors} finish=${finish}`);
}
server.close();
JS
node probe.mjs | tee seen
grep -q '^openai: text=Half errors=0 finish=other$' seen
grep -q '^compatible: text=Half errors=1 finish=error$' seen
echo "as described"
