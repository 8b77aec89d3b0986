#!/usr/bin/env bash
# A heartbeat comment in an event stream makes @microsoft/fetch-event-source send its POST again and again, and lose the answer.
#
# Versions: @microsoft/fetch-event-source 2.0.1, eventsource-parser 4.1.3.
# Input: `retry: 200`, a comment (`: ping`) and one event with JSON, read by an onmessage that parses the event's data.
# Seen: onmessage is called for the comment's block too, with the data "". JSON.parse throws there, and the library treats an exception
# of onmessage like a lost connection: it repeats the POST after the time of `retry`, for ever. The program sees neither the event
# nor an error, and each POST may be a paid answer of a model. Without the comment there is one POST, and eventsource-parser reports
# one event in both.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @microsoft/fetch-event-source@2.0.1 eventsource-parser@4.1.3 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { createParser } from "eventsource-parser";
// What the library uses of a browser.
globalThis.window = { setTimeout, clearTimeout, fetch };
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const event = 'data: {"text":"All of it."}\n\n';
for (const [name, body] of [["without", `retry: 200\n${event}`], ["with", `retry: 200\n\n: ping\n\n${event}`]]) {
  const stop = new AbortController();
  let posts = 0;
  const server = createServer((request, response) => {
    posts += 1;
    request.resume().on("end", () => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end(body);
    });
    if (posts === 5) stop.abort();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  let read = 0;
  const onmessage = ({ data }) => {
    JSON.parse(data);
    read += 1;
  };
  const url = `http://127.0.0.1:${server.address().port}`;
  const end = await fetchEventSource(url, { method: "POST", openWhenHidden: true, signal: stop.signal, onmessage }).then(() => "resolves", () => "rejects");
  let parsed = 0;
  createParser({ onEvent: () => (parsed += 1) }).feed(body);
  console.log(`${name} comment: ${posts} POSTs, read ${read}, ${end}; eventsource-parser reads ${parsed}`);
  server.close();
}
process.exit(0);
JS
timeout 60 node probe.mjs | tee seen
grep -qx 'without comment: 1 POSTs, read 1, resolves; eventsource-parser reads 1' seen
grep -qx 'with comment: 5 POSTs, read 0, resolves; eventsource-parser reads 1' seen
echo "as described"
