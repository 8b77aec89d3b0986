#!/usr/bin/env bash
# A stream that ends in the middle of an answer is an ordinary end for the loops of three provider SDKs, and an error for two helpers.
#
# Versions: openai 7.59.0, @anthropic-ai/sdk 1.14.0, @google/genai 3.3.0.
# Input: for each its own format, with one piece of text, no finish reason and no closing event ([DONE], message_stop); the HTTP body ends
# in order, as that of a gateway does that has lost the provider behind it.
# Seen: `for await` over the stream ends without an exception in all three, so a program that collects the pieces takes half an answer for
# the whole one. finalChatCompletion() of openai and finalMessage() of @anthropic-ai/sdk reject for the same bytes.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund openai@7.59.0 @anthropic-ai/sdk@1.14.0 @google/genai@3.3.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
import { GoogleGenAI } from "@google/genai";
import OpenAI from "openai";
const event = (value) => `${value.type ? `event: ${value.type}\n` : ""}data: ${JSON.stringify(value)}\n\n`;
const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: { input_tokens: 9, output_tokens: 1 } };
const bodies = {
  chat: event({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: { role: "assistant", content: "Half" }, finish_reason: null }] }),
  messages:
    event({ type: "message_start", message }) +
    event({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }) +
    event({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text: "Half" } }),
  streamGenerateContent: event({ candidates: [{ index: 0, content: { role: "model", parts: [{ text: "Half" }] } }] }),
};
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(Object.entries(bodies).find(([path]) => request.url.includes(path))[1]);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const baseURL = `http://127.0.0.1:${server.address().port}`;
const options = { apiKey: "none", baseURL, maxRetries: 0 };
const [openai, anthropic] = [new OpenAI(options), new Anthropic(options)];
const google = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: baseURL } });
const messages = [{ role: "user", content: "go" }];
const request = { model: "m", messages };
async function collect(stream, textOf) {
  let text = "";
  for await (const part of await stream) text += textOf(part) ?? "";
  return `ends with "${text}"`;
}
const seen = {
  openai: () => collect(openai.chat.completions.create({ ...request, stream: true }), ({ choices }) => choices[0].delta.content),
  anthropic: () => collect(anthropic.messages.create({ ...request, max_tokens: 9, stream: true }), ({ delta }) => delta?.text),
  google: () => collect(google.models.generateContentStream({ model: "m", contents: "go" }), ({ text }) => text),
  "openai's helper": () => openai.chat.completions.stream(request).finalChatCompletion(),
  "anthropic's helper": () => anthropic.messages.stream({ ...request, max_tokens: 9 }).finalMessage(),
};
for (const [name, read] of Object.entries(seen)) console.log(`${name}: ${await read().catch(() => "rejects")}`);
process.exit(0);
JS
node probe.mjs | tee seen
for name in openai anthropic google; do grep -qx "$name: ends with \"Half\"" seen; done
grep -qx "openai's helper: rejects" seen
grep -qx "anthropic's helper: rejects" seen
echo "as described"
