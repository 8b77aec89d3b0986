#!/usr/bin/env bash
# A finish reason "length" is replaced by an empty one that follows it: @ai-sdk/openai-compatible takes the last word.
#
# Versions: ai 7.0.173, @ai-sdk/openai-compatible 3.0.92.
# Input: a text delta, a chunk with `finish_reason` "length", a chunk with `finish_reason` "" (some servers send an empty word with
# every other chunk), then [DONE].
# Seen: finish reason "other" with an empty raw word and no error part. A program that looks for "length" takes half a text for
# the whole one.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai-compatible@3.0.92 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { streamText } from "ai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
const chunk = (rest) => `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", ...rest })}\n\n`;
const choice = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }] });
const body =
  chunk(choice({ role: "assistant", content: "Half" })) + chunk(choice({}, "length")) + chunk(choice({}, "")) + "data: [DONE]\n\n";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const model = createOpenAICompatible({ name: "gateway", baseURL, apiKey: "none" }).chatModel("m");
let errors = 0;
let end = "none";
for await (const part of streamText({ model, prompt: "go", maxRetries: 0, onError() {} }).fullStream) {
  if (part.type === "error") errors += 1;
  if (part.type === "finish") end = `${part.finishReason} raw="${part.rawFinishReason}"`;
}
console.log(`errors=${errors} finish=${end}`);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'errors=0 finish=other raw=""' seen
echo "as described"
