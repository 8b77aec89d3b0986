#!/usr/bin/env bash
# An ioredis client whose database Redis refuses becomes ready, and its commands change database 0.
#
# Version: ioredis 6.0.0.
# Input: the option `db` with a number that the server does not have, as in redis://host:6379/99. A Redis has 16 databases unless it is
# configured otherwise, and a Redis Cluster has one. The server is a few lines that do for SELECT and SET as Redis does.
# Seen: one `error` event, then `ready`; a SET is answered with OK, and is in database 0, which may belong to another program. The same after
# each reconnect. A Redis 7.0.15 (REDIS_PORT names its port) shows the same events and the same answer.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ioredis@6.0.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:net";
import Redis from "ioredis";
const changed = [];
const server = createServer((socket) => {
  let database = 0;
  socket.on("error", () => {}).on("data", (bytes) => {
    for (const command of `${bytes}`.split(/(?=\*\d+\r\n)/)) {
      const [, , name, , first] = command.split("\r\n");
      const isRefused = /^select$/i.test(name) && Number(first) > 15;
      if (/^select$/i.test(name) && !isRefused) database = Number(first);
      if (/^set$/i.test(name)) changed.push(`${first} in database ${database}`);
      socket.write(isRefused ? "-ERR DB index is out of range\r\n" : "+OK\r\n");
    }
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const port = Number(process.env.REDIS_PORT ?? server.address().port);
const client = new Redis({ port, host: "127.0.0.1", db: 99, enableReadyCheck: false, disableClientInfo: true });
const events = [];
client.on("error", ({ message }) => events.push(message)).on("ready", () => events.push("ready"));
console.log(`SET: ${await client.set("order", "1", "PX", 1000)}`);
console.log(`events: ${events.join(", ")}`);
if (!process.env.REDIS_PORT) console.log(`changed: ${changed.join(", ")}`);
process.exit(0);
JS
node probe.mjs | tee seen.txt
grep -qx 'SET: OK' seen.txt
grep -qx 'events: ERR DB index is out of range, ready' seen.txt
[ -n "${REDIS_PORT:-}" ] || grep -qx 'changed: order in database 0' seen.txt
echo "as described"
