#!/usr/bin/env bash
# runAgent() of @ag-ui/client resolves in the same way for a whole run, a run that was cut and a run that failed.
#
# Version: @ag-ui/client 1.0.0.
# Input: three event streams of AG-UI with one text message: one ends with RUN_FINISHED, one without any end (a lost connection), one
# with RUN_ERROR.
# Seen: all three resolve, with equal `newMessages` but for the text. onRunFailed is called for none; only the absence of onRunFinishedEvent
# tells the cut one. A stream that ends in order, but with the message still open, does reject: "Cannot send 'RUN_FINISHED'".
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @ag-ui/client@1.0.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { HttpAgent } from "@ag-ui/client";
const begin = { type: "RUN_STARTED", threadId: "t", runId: "r" };
const open = { type: "TEXT_MESSAGE_START", messageId: "m", role: "assistant" };
const text = (delta) => ({ type: "TEXT_MESSAGE_CONTENT", messageId: "m", delta });
const close = { type: "TEXT_MESSAGE_END", messageId: "m" };
const finish = { type: "RUN_FINISHED", threadId: "t", runId: "r" };
const streams = {
  whole: [begin, open, text("All of it."), close, finish],
  cut: [begin, open, text("All")],
  failed: [begin, open, text("All"), { type: "RUN_ERROR", message: "out of tokens" }],
  disordered: [begin, open, text("All"), finish],
};
let events = [];
const server = createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.end(events.map((event) => `data: ${JSON.stringify(event)}\n\n`).join(""));
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
for (const name of Object.keys(streams)) {
  events = streams[name];
  const called = [];
  const agent = new HttpAgent({ url: `http://127.0.0.1:${server.address().port}` });
  const end = await agent
    .runAgent({}, { onRunFailed: () => void called.push("failed"), onRunFinishedEvent: () => void called.push("finished") })
    .then(({ newMessages }) => `resolves with "${newMessages[0].content}"`, () => "rejects");
  console.log(`${name}: ${end}, called: ${called.join(",") || "nothing"}`);
}
process.exit(0);
JS
node probe.mjs 2>errors | tee seen
grep -qx 'whole: resolves with "All of it.", called: finished' seen
grep -qx 'cut: resolves with "All", called: nothing' seen
grep -qx 'failed: resolves with "All", called: nothing' seen
grep -qx 'disordered: rejects, called: failed' seen
echo "as described"
