#!/usr/bin/env bash
# An `event: error` in the middle of a stream is one more chunk for groq-sdk, and an exception for the openai package.
#
# Versions: groq-sdk 1.6.0, openai 7.59.0.
# Input: a text chunk, `event: error` with a message and a code, then [DONE].
# Seen: openai throws. groq-sdk hands the error's JSON to the loop as a chunk without `choices`, and the loop ends without an exception: a
# program that reads `chunk.choices?.[0]` takes half a text for the whole one. The package has a branch that would throw, but it
# stands behind a test for names that begin with "thread.", which "error" does not. An error in a field `error` does throw in both.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund groq-sdk@1.6.0 openai@7.59.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import Groq from "groq-sdk";
import OpenAI from "openai";
const choices = [{ index: 0, delta: { role: "assistant", content: "Half" }, finish_reason: null }];
const text = `data: ${JSON.stringify({ id: "c", object: "chat.completion.chunk", created: 1, model: "m", choices })}\n\n`;
const error = { message: "over capacity", code: 503 };
const bodies = {
  "event: error": `${text}event: error\ndata: ${JSON.stringify(error)}\n\ndata: [DONE]\n\n`,
  "field error": `${text}data: ${JSON.stringify({ error })}\n\ndata: [DONE]\n\n`,
};
let body = "";
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(body);
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const options = { apiKey: "none", baseURL: `http://127.0.0.1:${server.address().port}`, maxRetries: 0 };
for (const [kind, bytes] of Object.entries(bodies)) {
  body = bytes;
  for (const [name, client] of Object.entries({ groq: new Groq(options), openai: new OpenAI(options) })) {
    let read = "";
    let end = "ends";
    try {
      const messages = [{ role: "user", content: "go" }];
      for await (const chunk of await client.chat.completions.create({ model: "m", messages, stream: true })) read += chunk.choices?.[0]?.delta.content ?? "";
    } catch {
      end = "throws";
    }
    console.log(`${kind}, ${name}: ${end} after "${read}"`);
  }
}
server.close();
JS
node probe.mjs | tee seen
grep -qx 'event: error, groq: ends after "Half"' seen
grep -qx 'event: error, openai: throws after "Half"' seen
grep -qx 'field error, groq: throws after "Half"' seen
grep -qx 'field error, openai: throws after "Half"' seen
echo "as described"
