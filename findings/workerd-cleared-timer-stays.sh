#!/usr/bin/env bash
# In a Durable Object of workerd, a timer that is cleared before its time keeps some 260 bytes for as long as the object lives. A timer that
# fires keeps nothing, and a Worker's request frees its cleared timers when it ends.
#
# Version: workerd 1.20261023.1.
# Input: an object sets 100,000 timers of 1 ms and clears each at once, twice; the same without timers beside it. Drivers do so: `postgres` 3.4.9 with
# `idle_timeout` for each query, `ioredis` with `commandTimeout` for each command.
# Seen: the process grows by 25 MB for each 100,000 timers, also a minute after the time for which they were set; by 0.1 MB without timers.
# In a Worker the second 100,000 need no more memory than the first.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund workerd@1.20261023.1 >/dev/null
cat > worker.js <<'JS'
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function setAndClear(url) {
  const timers = Number(new URL(url).searchParams.get("timers"));
  for (let i = 1; i <= timers; i++) {
    clearTimeout(setTimeout(() => {}, 1));
    if (i % 1_000 === 0) await pause(5);
  }
  return new Response();
}
export class Counter {
  fetch({ url }) {
    return setAndClear(url);
  }
}
export default {
  fetch(request, { COUNTER }) {
    if (!request.url.includes("/object")) return setAndClear(request.url);
    return COUNTER.get(COUNTER.idFromName("one")).fetch(request);
  },
};
JS
cat > config.capnp <<'CAPNP'
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker", esModule = embed "worker.js")],
      compatibilityDate = "2026-10-01",
      bindings = [(name = "COUNTER", durableObjectNamespace = "Counter")],
      durableObjectNamespaces = [(className = "Counter", uniqueKey = "counter")],
      durableObjectStorage = (inMemory = void),
    )),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
CAPNP
cat > probe.mjs <<'JS'
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import workerd from "workerd";
for (const [place, timers] of [["object", 100_000], ["object", 0], ["request", 100_000]]) {
  const server = spawn(workerd.default ?? workerd, ["serve", "config.capnp", "--control-fd=3"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const { port } = await new Promise((resolve) => server.stdio[3].once("data", (line) => resolve(JSON.parse(line))));
  const run = (count) => fetch(`http://127.0.0.1:${port}/${place}?timers=${count}`).then((response) => response.text());
  const megabytes = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, "utf8"))[1]) / 1_024;
  // The first round has what each process needs once.
  await run(timers);
  const before = megabytes();
  await run(timers);
  await run(timers);
  const grownMb = megabytes() - before;
  console.error(`${place}, twice ${timers} timers: ${grownMb.toFixed(1)} MB`);
  console.log(`${place}, twice ${timers} timers: ${grownMb > 30 ? "grows" : grownMb < 15 ? "stays" : "between"}`);
  server.kill();
}
JS
node probe.mjs | tee seen
grep -qx 'object, twice 100000 timers: grows' seen
grep -qx 'object, twice 0 timers: stays' seen
grep -qx 'request, twice 100000 timers: stays' seen
echo "as described"
