#!/usr/bin/env bash
# The `connectionString` of workerd's Hyperdrive binding has user and password without escapes: with a password of other characters than letters
# and digits it is a URL of another host, or none.
#
# Version: workerd 1.20261023.1.
# Input: a Worker with a Hyperdrive binding, whose configuration has the host 127.0.0.1, the user app and one password in turn: secret, p@ss/word,
# and the percent-escapes p%40ss%2Fword.
# Seen: with p@ss/word the URL's host is `ss`, its path `/word@…` and its password `p`: a driver looks for another machine, and says that
# the name is not known. With the escapes in the configuration the URL is right, and `password` beside it has the escapes too.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund workerd@1.20261023.1 >/dev/null
cat > worker.js <<'JS'
export default {
  fetch(request, { DB }) {
    const { hostname, pathname, password } = new URL(DB.connectionString);
    const isRight = hostname === DB.host && pathname === "/orders";
    return new Response(`${DB.password}: host ${isRight ? "right" : hostname}, password ${decodeURIComponent(password)}\n`);
  },
};
JS
cat > probe.mjs <<'JS'
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import workerd from "workerd";
const config = (password) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (
      modules = [(name = "worker", esModule = embed "worker.js")],
      compatibilityDate = "2026-10-01",
      bindings = [(name = "DB", hyperdrive = (designator = "postgres", database = "orders", user = "app", password = "${password}", scheme = "postgres"))],
    )),
    (name = "postgres", external = (address = "127.0.0.1:5432", tcp = ())),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);`;
for (const password of ["secret", "p@ss/word", "p%40ss%2Fword"]) {
  writeFileSync("config.capnp", config(password));
  const server = spawn(workerd.default ?? workerd, ["serve", "config.capnp", "--control-fd=3"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
  });
  const { port } = await new Promise((resolve) => server.stdio[3].once("data", (line) => resolve(JSON.parse(line))));
  process.stdout.write(await (await fetch(`http://127.0.0.1:${port}/`)).text());
  server.kill();
}
JS
node probe.mjs | tee seen
grep -qx 'secret: host right, password secret' seen
grep -qx 'p@ss/word: host ss, password p' seen
grep -qx 'p%40ss%2Fword: host right, password p@ss/word' seen
echo "as described"
