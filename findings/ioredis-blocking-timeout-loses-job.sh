#!/usr/bin/env bash
# With ioredis' `blockingTimeout` a BLPOP answers null while Redis still waits for it, and the next element goes to nobody.
#
# Version: ioredis 6.0.0.
# Input: the option as its README shows it for a dead connection, on a live one: a consumer calls BLPOP without a time limit, gets null,
# and calls it again, and a second connection then pushes two elements. The server is a few lines that do for BLPOP and RPUSH as Redis does.
# Seen: the first element answers the call that was given up, and is dropped without an event or an error; the second call gets the second
# one. Without the option the consumer gets the first element. A Redis 7.0.15 (REDIS_PORT names its port) shows the same.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund ioredis@6.0.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:net";
import Redis from "ioredis";
const bulk = (text) => `$${text.length}\r\n${text}\r\n`;
function startServer() {
  const waiting = [];
  const list = [];
  const server = createServer((socket) => {
    const commands = [];
    // The commands behind a BLPOP that waits are carried out after its reply, as in Redis.
    socket.carryOut = () => {
      while (commands.length > 0 && !waiting.includes(socket)) {
        const [, , name, , , , value] = commands.shift().split("\r\n");
        if (/^blpop$/i.test(name)) waiting.push(socket);
        else socket.write(/^rpush$/i.test(name) ? `:${list.push(value)}\r\n` : "+OK\r\n");
        while (waiting.length > 0 && list.length > 0) {
          const served = waiting.shift();
          served.write(`*2\r\n${bulk("jobs")}${bulk(list.shift())}`);
          setImmediate(served.carryOut);
        }
      }
    };
    socket.on("data", (bytes) => {
      commands.push(...`${bytes}`.split(/(?=\*\d+\r\n)/));
      socket.carryOut();
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}
for (const [name, options] of [["without", {}], ["with", { blockingTimeout: 500 }]]) {
  const port = Number(process.env.REDIS_PORT ?? (await startServer()));
  const key = `jobs-${name}`;
  const errors = [];
  const client = (more) =>
    new Redis(port, "127.0.0.1", { enableReadyCheck: false, disableClientInfo: true, ...more }).on("error", ({ message }) => errors.push(message));
  const consumer = client(options);
  const producer = client({});
  const first = consumer.blpop(key, 0);
  if (options.blockingTimeout) console.log(`given up: ${JSON.stringify(await first)}`);
  const next = options.blockingTimeout ? consumer.blpop(key, 0) : first;
  await producer.rpush(key, "job-1");
  await producer.rpush(key, "job-2");
  console.log(`${name} the option: ${(await next)?.[1]}, errors ${errors.length}`);
  consumer.disconnect();
  producer.disconnect();
}
process.exit(0);
JS
timeout 60 node probe.mjs | tee seen
grep -qx 'given up: null' seen
grep -qx 'without the option: job-1, errors 0' seen
grep -qx 'with the option: job-2, errors 0' seen
echo "as described"
