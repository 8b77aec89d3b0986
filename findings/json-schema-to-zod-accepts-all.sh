#!/usr/bin/env bash
# A schema without `type` becomes z.any() in json-schema-to-zod: what it requires is required no more; and a pattern refuses good values.
#
# Versions: json-schema-to-zod 2.8.1, zod 4.6.7, ajv 8.20.0.
# Input: three valid schemas: one with `properties` and `required` but no `type`; an object that has one of two fields by `anyOf` of
# two `required`; and an object with a pattern for the names of some numbers, `^n_`, as Ajv and zod read them.
# Seen: zod accepts {} under the first and under the second, and Ajv refuses it under both. Under the third zod refuses a text in a
# field whose name does not match the pattern, which Ajv accepts: the pattern's schema is taken for all fields without a name of their own.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund json-schema-to-zod@2.8.1 zod@4.6.7 ajv@8.20.0 >/dev/null
cat > probe.mjs <<'JS'
import { Ajv } from "ajv";
import { jsonSchemaToZod } from "json-schema-to-zod";
import { z } from "zod";
const text = { type: "string" };
const cases = {
  "no type": [{ properties: { city: text }, required: ["city"] }, {}],
  "one of two": [{ type: "object", properties: { id: text, name: text }, anyOf: [{ required: ["id"] }, { required: ["name"] }] }, {}],
  pattern: [{ type: "object", properties: { id: text }, patternProperties: { "^n_": { type: "number" } } }, { id: "a", note: "b" }],
};
const said = (accepts) => (accepts ? "accepts" : "refuses");
for (const [name, [schema, value]] of Object.entries(cases)) {
  const made = new Function("z", `return ${jsonSchemaToZod(schema)}`)(z);
  console.log(`${name}: zod ${said(made.safeParse(value).success)}, ajv ${said(new Ajv({ strict: false }).validate(schema, value))}`);
}
JS
node probe.mjs | tee seen
grep -qx 'no type: zod accepts, ajv refuses' seen
grep -qx 'one of two: zod accepts, ajv refuses' seen
grep -qx 'pattern: zod refuses, ajv accepts' seen
echo "as described"
