#!/usr/bin/env bash
# A text that quickjs-emscripten gives to its host ends at the first U+0000, and half of a surrogate pair becomes other characters.
#
# Version: quickjs-emscripten 0.32.0. Workflow engines take the results of their users' code out of QuickJS with it.
# Input: the texts "a\0b" and "\ud83d", as a value and inside of a list.
# Seen: no error. `getString`, and `dump` of a text, have "a" for "a\0b", whose `length` is 3 in QuickJS, and no "\ud83d". `dump` of a list
# has both texts as they are, because it goes through JSON.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund quickjs-emscripten@0.32.0 >/dev/null
cat > probe.mjs <<'JS'
import { getQuickJS } from "quickjs-emscripten";
const context = (await getQuickJS()).newContext();
for (const text of ["a\0b", "\ud83d"]) {
  const shown = JSON.stringify(text);
  const value = context.unwrapResult(context.evalCode(shown));
  const list = context.unwrapResult(context.evalCode(`[${shown}]`));
  const length = context.getNumber(context.getProp(value, "length"));
  const same = (one) => (one === text ? "the same" : "another text");
  console.log(`${shown}: length ${length}, getString ${same(context.getString(value))}, dump ${same(context.dump(value))}, in a list ${same(context.dump(list)[0])}`);
}
console.log(JSON.stringify(context.getString(context.unwrapResult(context.evalCode('"a\\0b"')))));
JS
node probe.mjs | tee seen
grep -qxF '"a\u0000b": length 3, getString another text, dump another text, in a list the same' seen
grep -qxF '"\ud83d": length 1, getString another text, dump another text, in a list the same' seen
grep -qxF '"a"' seen
echo "as described"
