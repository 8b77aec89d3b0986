#!/usr/bin/env bash
# A text that a server puts into the start of its content block is lost by @ai-sdk/anthropic, and the answer is a success.
#
# Versions: ai 7.0.173, @ai-sdk/anthropic 4.0.105.
# Input: a stream of the Messages API whose `content_block_start` has the whole text, without a delta. The field `text` of a
# block's start is part of that format; gateways that turn a whole answer into a stream fill it.
# Seen: no text, no error part, finish reason "stop", and the tokens of the answer are counted.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/anthropic@4.0.105 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { streamText } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: { input_tokens: 3, output_tokens: 1 } };
const body = [
  { type: "message_start", message },
  { type: "content_block_start", index: 0, content_block: { type: "text", text: "All of it." } },
  { type: "content_block_stop", index: 0 },
  { type: "message_delta", delta: { stop_reason: "end_turn", stop_sequence: null }, usage: { output_tokens: 4 } },
  { type: "message_stop" },
]
  .map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  .join("");
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const model = createAnthropic({ baseURL, apiKey: "none" })("claude-haiku-4-5");
let text = "";
let errors = 0;
let end = "none";
for await (const part of streamText({ model, prompt: "go", maxRetries: 0, onError() {} }).fullStream) {
  if (part.type === "text-delta") text += part.text;
  if (part.type === "error") errors += 1;
  if (part.type === "finish") end = `${part.finishReason}, ${part.totalUsage.outputTokens} output tokens`;
}
console.log(`text="${text}" errors=${errors} finish=${end}`);
server.close();
JS
node probe.mjs | tee seen
grep -qx 'text="" errors=0 finish=stop, 4 output tokens' seen
echo "as described"
