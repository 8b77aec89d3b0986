#!/usr/bin/env bash
# A text that an error of the provider breaks off is "completed" for the AI SDK's UI stream, and `await result.text` gives the half.
#
# Versions: ai 7.0.173, @ai-sdk/openai 4.0.118.
# Input: two streams of the Chat Completions API: a whole one, and one whose second event is an error, in OpenAI's own form.
# Seen: onEnd of toUIMessageStream() says outcome "completed" for both, with the text's part "done": a program that stores the message
# there stores half a text as a whole one. `text` of the result resolves too. Only the finish reason, "error", tells them apart.
# The same error before the first event rejects `text`.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ai@7.0.173 @ai-sdk/openai@4.0.118 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { createOpenAI } from "@ai-sdk/openai";
import { streamText, toUIMessageStream } from "ai";
const data = (value) => `data: ${JSON.stringify(value)}\n\n`;
const chunk = (content, finish_reason) =>
  data({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices: [{ index: 0, delta: { role: "assistant", content }, finish_reason }] });
const error = data({ error: { message: "The server had an error", type: "server_error", param: null, code: null } });
const bodies = { whole: chunk("All", null) + chunk(" of it.", "stop") + "data: [DONE]\n\n", broken: chunk("All", null) + error, "no text": error };
let body = "";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const model = createOpenAI({ baseURL: `http://127.0.0.1:${server.address().port}`, apiKey: "none" }).chat("m");
for (const name of Object.keys(bodies)) {
  body = bodies[name];
  const result = streamText({ model, prompt: "go", maxRetries: 0, onError() {} });
  let end;
  for await (const _part of toUIMessageStream({ stream: result.stream, onEnd: (event) => (end = event) }));
  const state = end.responseMessage.parts.find(({ type }) => type === "text")?.state ?? "absent";
  const text = await result.text.then((value) => `"${value}"`, () => "rejected");
  console.log(`${name}: outcome ${end.outcome.status}, text part ${state}, finish ${end.finishReason}, text ${text}`);
}
server.close();
JS
node probe.mjs | tee seen
grep -qx 'whole: outcome completed, text part done, finish stop, text "All of it."' seen
grep -qx 'broken: outcome completed, text part done, finish error, text "All"' seen
grep -q '^no text: .* text rejected$' seen
echo "as described"
