#!/usr/bin/env bash
# A tool call that the token limit cuts is whole for the stream helper of @anthropic-ai/sdk: the argument under way is left out.
#
# Version: @anthropic-ai/sdk 1.14.0.
# Input: two streams of the Messages API, each with one tool call. The first has all arguments and ends with "tool_use"; the second
# is the same call cut in its third argument (`"dry_run":tr`), with a block stop and the stop reason "max_tokens", as the API sends it.
# Seen: finalMessage() resolves for both, and the input of the second is an object without `dry_run`. Nothing but the stop reason
# tells it from a call that the model made so: a program that goes through the content carries it out.
# The tool runner of the same package does not: it reads the stop reason.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @anthropic-ai/sdk@1.14.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import Anthropic from "@anthropic-ai/sdk";
const message = { id: "m", type: "message", role: "assistant", model: "x", content: [], usage: { input_tokens: 9, output_tokens: 1 } };
const stream = (json, stop_reason) =>
  [
    { type: "message_start", message },
    { type: "content_block_start", index: 0, content_block: { type: "tool_use", id: "t", name: "remove", input: {} } },
    { type: "content_block_delta", index: 0, delta: { type: "input_json_delta", partial_json: json } },
    { type: "content_block_stop", index: 0 },
    { type: "message_delta", delta: { stop_reason, stop_sequence: null }, usage: { output_tokens: 12 } },
    { type: "message_stop" },
  ]
    .map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
    .join("");
const bodies = [stream('{"folder":"/data","depth":2,"dry_run":true}', "tool_use"), stream('{"folder":"/data","depth":2,"dry_run":tr', "max_tokens")];
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(bodies.shift());
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const client = new Anthropic({ apiKey: "none", baseURL: `http://127.0.0.1:${server.address().port}`, maxRetries: 0 });
for (const name of ["whole", "cut"]) {
  const tools = [{ name: "remove", input_schema: { type: "object" } }];
  const answer = client.messages.stream({ model: "x", max_tokens: 12, messages: [{ role: "user", content: "go" }], tools });
  const { content, stop_reason } = await answer.finalMessage();
  console.log(`${name}: ${stop_reason} ${JSON.stringify(content[0].input)}`);
}
server.close();
JS
node probe.mjs | tee seen
grep -qxF 'whole: tool_use {"folder":"/data","depth":2,"dry_run":true}' seen
grep -qxF 'cut: max_tokens {"folder":"/data","depth":2}' seen
echo "as described"
