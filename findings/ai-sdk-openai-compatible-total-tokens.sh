#!/usr/bin/env bash
# Thoughts that a server counts only in `total_tokens` are lost: @ai-sdk/openai-compatible makes its own total.
#
# Versions: ai 7.0.173, @ai-sdk/openai-compatible 3.0.92.
# Input: a usage as xAI, and Gemini behind OpenAI's form, report it: prompt 32, completion 9, reasoning 94, total 135.
# Seen: 32 input and 9 output tokens and a total of 41; 94 tokens that are paid for are in `raw` alone. See
# mozilla-ai/any-llm issue 1290 and sonami-tech/omni-llm-provider issue 49.
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
const usage = { prompt_tokens: 32, completion_tokens: 9, total_tokens: 135, completion_tokens_details: { reasoning_tokens: 94 } };
const body = chunk(choice({ role: "assistant", content: "All" }, "stop")) + chunk({ choices: [], usage }) + "data: [DONE]\n\n";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const model = createOpenAICompatible({ name: "gateway", baseURL, apiKey: "none", includeUsage: true }).chatModel("m");
for await (const part of streamText({ model, prompt: "go", maxRetries: 0, onError() {} }).fullStream) {
  if (part.type !== "finish") continue;
  const { inputTokens, outputTokens, totalTokens } = part.totalUsage;
  console.log(`input=${inputTokens} output=${outputTokens} total=${totalTokens}`);
}
server.close();
JS
node probe.mjs | tee seen
grep -qx 'input=32 output=9 total=41' seen
echo "as described"
