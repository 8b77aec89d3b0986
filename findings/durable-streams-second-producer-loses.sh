#!/usr/bin/env bash
# The exactly-once producer of Durable Streams loses the first appends of its second process, as many as the first process had made.
#
# Versions: @durable-streams/client 0.2.7, @durable-streams/server 0.3.7.
# Input: one producer id, as its documentation says ("stable identifier"), in two processes after each other: the first appends 1 and 2
# one by one, the second 3, 4 and 5, each with the README's options (`autoClaim: true` and an `onError`).
# Seen: the stream has 1, 2 and 5; no append, flush or onError reports an error. The second process begins at epoch 0 and sequence 0
# again, and the server takes its first two appends for repetitions. A second process that calls restart() first has all of its appends.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @durable-streams/client@0.2.7 @durable-streams/server@0.3.7 >/dev/null
cat > probe.mjs <<'JS'
import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client";
import { DurableStreamTestServer } from "@durable-streams/server";
const base = await new DurableStreamTestServer({ port: 0 }).start();
let errors = 0;
async function append(handle, numbers, first) {
  const producer = new IdempotentProducer(handle, "worker-1", { autoClaim: true, onError: () => (errors += 1) });
  await first(producer);
  for (const number of numbers) {
    producer.append(JSON.stringify(number));
    await producer.flush();
  }
  await producer.detach();
}
const nothing = async () => {};
for (const [name, first] of [["again", nothing], ["after restart()", (producer) => producer.restart()]]) {
  const url = `${base}/${encodeURIComponent(name)}`;
  const handle = await DurableStream.create({ url, contentType: "application/json" });
  await append(handle, [1, 2], nothing);
  await append(handle, [3, 4, 5], first);
  const kept = await (await stream({ url, offset: "-1", live: false })).json();
  console.log(`${name}: kept ${kept.join(",")}, errors ${errors}`);
}
process.exit(0);
JS
node probe.mjs | tee seen
grep -qx 'again: kept 1,2,5, errors 0' seen
grep -qx 'after restart(): kept 1,2,3,4,5, errors 0' seen
echo "as described"
