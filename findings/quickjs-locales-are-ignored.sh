#!/usr/bin/env bash
# QuickJS takes a locale and its options and ignores both: a number is written without groups, and a list is in the order of code points.
#
# Version: quickjs-emscripten 0.32.0. Workflow engines evaluate the code of their users with it or with another build of QuickJS.
# Input: (1234567.891).toLocaleString("de-DE"), a percentage, and a list that is sorted with localeCompare.
# Seen: no error, and other results than in Node and browsers: "1234567.891" for "1.234.567,891", "0.256" for "26%", and Z before a
# and z before ä. `Intl` does not exist there, so only code that names it fails.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund quickjs-emscripten@0.32.0 >/dev/null
cat > probe.mjs <<'JS'
import { getQuickJS } from "quickjs-emscripten";
const quickjs = await getQuickJS();
const programs = [
  '(1234567.891).toLocaleString("de-DE")',
  '(0.256).toLocaleString("en-US", { style: "percent" })',
  '["z", "ä", "Z", "a"].sort((a, b) => a.localeCompare(b, "de")).join(" ")',
  "typeof Intl",
];
for (const program of programs) {
  console.log(`${program}: QuickJS ${quickjs.evalCode(program)}, Node ${(0, eval)(program)}`);
}
JS
node probe.mjs | tee seen
grep -qxF '(1234567.891).toLocaleString("de-DE"): QuickJS 1234567.891, Node 1.234.567,891' seen
grep -qxF '(0.256).toLocaleString("en-US", { style: "percent" }): QuickJS 0.256, Node 26%' seen
grep -qxF '["z", "ä", "Z", "a"].sort((a, b) => a.localeCompare(b, "de")).join(" "): QuickJS Z a z ä, Node a ä z Z' seen
grep -qxF 'typeof Intl: QuickJS undefined, Node object' seen
echo "as described"
