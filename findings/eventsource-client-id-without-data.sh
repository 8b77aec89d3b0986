#!/usr/bin/env bash
# eventsource-client comes back with an old position where the newest one came in an event without data; EventSource does not.
#
# Versions: eventsource-client 1.2.0, eventsource 5.1.5.
# Input: a stream with the event `id: 1` with data, then `id: 2` without data (so a server advances a reader over
# events that it left out), then an end. Both libraries connect again by themselves.
# Seen: `Last-Event-ID` of the second connection is 1 for eventsource-client and 2 for eventsource, as the HTML standard has it. All
# that lies between is read, and delivered, once more after each lost connection.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund eventsource-client@1.2.0 eventsource@5.1.5 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { EventSource } from "eventsource";
import { createEventSource } from "eventsource-client";
const clients = { "eventsource-client": (url) => createEventSource({ url }), eventsource: (url) => new EventSource(url) };
for (const [name, open] of Object.entries(clients)) {
  const positions = [];
  const server = createServer();
  const back = new Promise((resolve) =>
    server.on("request", (request, response) => {
      positions.push(request.headers["last-event-id"] ?? "none");
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.end("retry: 100\nid: 1\ndata: a\n\nid: 2\n\n");
      if (positions.length === 2) resolve();
    }),
  );
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const source = open(`http://127.0.0.1:${server.address().port}`);
  await back;
  source.close();
  console.log(`${name}: ${positions.join(", then ")}`);
}
process.exit(0);
JS
timeout 60 node probe.mjs | tee seen
grep -qx 'eventsource-client: none, then 1' seen
grep -qx 'eventsource: none, then 2' seen
echo "as described"
