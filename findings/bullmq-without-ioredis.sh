#!/usr/bin/env bash
# BullMQ installs without a Redis client, and a queue that is made then throws nothing: only its `error` event says so.
#
# Version: bullmq 6.7.0.
# Input: `npm install bullmq` as its guide says, then a Queue for the default Redis address.
# Seen: `new Queue` returns, `ioredis` is not installed (an optional peer dependency), and the reason is in an `error` event.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund bullmq@6.7.0 >/dev/null
cat > probe.mjs <<'JS'
import { existsSync } from "node:fs";
import { Queue } from "bullmq";
const queue = new Queue("jobs", { connection: { host: "127.0.0.1", port: 6379 } });
queue.on("error", ({ message }) => {
  console.log(`made=${queue instanceof Queue} ioredis=${existsSync("node_modules/ioredis")} names-ioredis=${/ioredis/.test(message)}`);
  process.exit(0);
});
JS
timeout 60 node probe.mjs | tee seen
grep -qx 'made=true ioredis=false names-ioredis=true' seen
echo "as described"
