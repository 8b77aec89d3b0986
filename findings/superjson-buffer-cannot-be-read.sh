#!/usr/bin/env bash
# superjson writes a Node Buffer without an error and cannot read what it wrote, with everything that stood beside it.
#
# Versions: superjson 2.2.7, devalue 6.0.3.
# Input: an object with a text and bytes, once as Uint8Array and once as Buffer, which is a Uint8Array in Node.
# Seen: stringify() succeeds for both. parse() gives the first one back and throws "Trying to deserialize unknown typed array" for
# the second one: a value that was stored stays unreadable, and its writer had no error. devalue reads both.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund superjson@2.2.7 devalue@6.0.3 >/dev/null
cat > probe.mjs <<'JS'
import * as devalue from "devalue";
import superjson from "superjson";
const read = (parse, text) => {
  try {
    const { name, bytes } = parse(text);
    return `gives ${name} ${[...bytes]}`;
  } catch (error) {
    return `throws ${error.message}`;
  }
};
for (const bytes of [new Uint8Array([1, 2]), Buffer.from([1, 2])]) {
  const value = { name: "photo", bytes };
  console.log(`${bytes.constructor.name}: superjson ${read(superjson.parse, superjson.stringify(value))}`);
  console.log(`${bytes.constructor.name}: devalue ${read(devalue.parse, devalue.stringify(value))}`);
}
JS
node probe.mjs | tee seen
grep -qx 'Uint8Array: superjson gives photo 1,2' seen
grep -qx 'Buffer: superjson throws Trying to deserialize unknown typed array' seen
grep -qx 'Uint8Array: devalue gives photo 1,2' seen
grep -qx 'Buffer: devalue gives photo 1,2' seen
echo "as described"
