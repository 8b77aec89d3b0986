#!/usr/bin/env bash
# Words inside of a text become a field, and an address loses its end, when jsonrepair reads the beginning of valid JSON.
#
# Versions: jsonrepair 3.15.0, partial-json 0.1.7.
# Input: two valid objects with one text each, as a model writes a call's arguments, cut inside the text as a stream or a token limit does.
# Seen: jsonrepair takes the comma before the cut for the end of the text. It gives `urgent: true` as a second field, which the model
# only quoted, and leaves "see https:" of an address; other cuts of the same text throw. partial-json gives the text up to the cut.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund jsonrepair@3.15.0 partial-json@0.1.7 >/dev/null
cat > probe.mjs <<'JS'
import { jsonrepair } from "jsonrepair";
import { parse } from "partial-json";
const show = (whole, end) => {
  const cut = whole.slice(0, whole.indexOf(end) + end.length);
  console.log(`jsonrepair: ${JSON.stringify(JSON.parse(jsonrepair(cut)))}`);
  console.log(`partial-json: ${JSON.stringify(parse(cut))}`);
};
show(JSON.stringify({ note: 'The form had a, "urgent": true, and no date.' }), "true,");
show(JSON.stringify({ note: "see https://example.com/a, page 3" }), "/a,");
JS
node probe.mjs | tee seen
grep -qxF 'jsonrepair: {"note":"The form had a","urgent":true}' seen
grep -qxF 'partial-json: {"note":"The form had a, \"urgent\": true,"}' seen
grep -qxF 'jsonrepair: {"note":"see https:"}' seen
grep -qxF 'partial-json: {"note":"see https://example.com/a,"}' seen
echo "as described"
