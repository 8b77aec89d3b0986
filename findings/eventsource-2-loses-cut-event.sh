#!/usr/bin/env bash
# eventsource 2.0.2 skips an event whose connection is lost between its id and its end; eventsource 5.1.5 does not.
#
# Versions: eventsource 2.0.2 and 5.1.5.
# Input: a stream with a whole event `id: 1`, then the line `id: 2` and half of the data line of that event, then the connection is lost. Both
# libraries connect again by themselves. The server then sends the events after `Last-Event-ID`.
# Seen: 2.0.2 sends `Last-Event-ID: 2` for an event that it has not delivered, so the server goes on after it. 5.1.5 sends 1, as the HTML
# standard has it: an id counts when its event is dispatched. The application gets no error, and never sees the event 2.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund old@npm:eventsource@2.0.2 new@npm:eventsource@5.1.5 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import Old from "old";
import { EventSource as New } from "new";
const event = (id) => `id: ${id}\ndata: event ${id}\n\n`;
for (const [name, Source] of [["2.0.2", Old], ["5.1.5", New]]) {
  const got = [];
  let position;
  const server = createServer((request, response) => {
    position = request.headers["last-event-id"];
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (position === undefined) {
      response.write(`retry: 100\n\n${event(1)}id: 2\ndata: ev`, () => response.end());
      return;
    }
    for (let id = Number(position) + 1; id <= 3; id++) response.write(event(id));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const source = new Source(`http://127.0.0.1:${server.address().port}`);
  await new Promise((resolve) => {
    source.onmessage = ({ data }) => {
      got.push(data);
      if (data === "event 3") resolve();
    };
  });
  source.close();
  console.log(`${name}: position ${position}, got ${got.join(", ")}`);
}
process.exit(0);
JS
timeout 60 node probe.mjs | tee seen
grep -qx '2.0.2: position 2, got event 1, event 3' seen
grep -qx '5.1.5: position 1, got event 1, event 2, event 3' seen
echo "as described"
