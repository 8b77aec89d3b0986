#!/usr/bin/env bash
# workerd closes a connection that is idle for 15 s, and no header says so: a proxy or client that keeps connections for longer may send its
# next request into the closed one, and does not repeat a POST. It refuses a request without a Host, as HTTP/1.0 allows it and HAProxy's
# `option httpchk` sends it, with 400.
#
# Version: workerd 1.20261023.1.
# Input: a request over a kept connection, then silence; a request of HTTP/1.0 without a Host.
# Seen: the response has neither `Connection` nor `Keep-Alive`; the connection ends 15 s later. The other response is
# `HTTP/1.0 400 Bad Request`, and the Worker is not called.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund workerd@1.20261023.1 >/dev/null
echo 'export default { fetch: () => new Response("hello") };' > worker.js
cat > config.capnp <<'CAPNP'
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2026-10-01")),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
CAPNP
cat > probe.mjs <<'JS'
import { spawn } from "node:child_process";
import { connect } from "node:net";
import workerd from "workerd";
const server = spawn(workerd.default ?? workerd, ["serve", "config.capnp", "--control-fd=3"], {
  stdio: ["ignore", "ignore", "ignore", "pipe"],
});
const { port } = await new Promise((resolve) => server.stdio[3].once("data", (line) => resolve(JSON.parse(line))));
/** Sends a request, and waits until the server ends the connection. */
const talk = (request) =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(request));
    let text = "";
    let answeredMs;
    socket.on("data", (bytes) => {
      text += bytes;
      answeredMs = performance.now();
    });
    socket.on("end", () => resolve({ text, idleSeconds: (performance.now() - answeredMs) / 1_000 }));
  });
const kept = await talk("GET / HTTP/1.1\r\nHost: edge\r\n\r\n");
console.log(`kept: ${/^(connection|keep-alive):/im.test(kept.text) ? "says when it ends" : "says nothing"}`);
console.log(`kept: ended after ${Math.round(kept.idleSeconds)} s`);
const { text } = await talk("GET / HTTP/1.0\r\n\r\n");
console.log(`without a Host: ${text.split("\r\n")[0]}`);
server.kill();
JS
node probe.mjs | tee seen
grep -qx 'kept: says nothing' seen
grep -qx 'kept: ended after 15 s' seen
grep -qx 'without a Host: HTTP/1.0 400 Bad Request' seen
echo "as described"
