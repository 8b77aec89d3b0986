#!/usr/bin/env bash
# orval and hey-api take a field `$ref` inside of an example for a reference of the document itself, and refuse the whole document.
#
# Versions: orval 8.38.0, @hey-api/openapi-ts 0.99.0 (with typescript 5.9.3), openapi-typescript 7.13.0.
# Input: a valid document of OpenAPI 3.1 with an object that has a field named `$ref`, and an example of this object. An example is a value,
# in which nothing is a reference.
# Seen: orval asks to allow the external reference `orders/7`, and hey-api looks for a file of that name; both write nothing.
# openapi-typescript reads the document.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund orval@8.38.0 @hey-api/openapi-ts@0.99.0 openapi-typescript@7.13.0 typescript@5.9.3 >/dev/null 2>&1
cat > openapi.json <<'JSON'
{ "openapi": "3.1.0", "info": { "title": "t", "version": "1" },
  "paths": { "/a": { "get": { "operationId": "getA", "responses": { "200": { "description": "A",
    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Pointer" } } } } } } } },
  "components": { "schemas": { "Pointer": { "type": "object", "properties": { "$ref": { "type": "string" } },
    "examples": [{ "$ref": "orders/7" }] } } } }
JSON
{ npx orval --input openapi.json --output orval.ts || true; } 2>&1 | grep -m 1 "External" | tee seen
{ npx openapi-ts -i openapi.json -o hey </dev/null || true; } 2>&1 | sed 's/\x1b\[[0-9;]*m//g' | grep -m 1 "not found" | tee -a seen
npx openapi-typescript openapi.json -o types.ts >/dev/null 2>&1
grep -q 'External $ref targets are not allowed' seen
grep -q 'Input file not found' seen
[ ! -e orval.ts ] && [ ! -e hey/index.ts ] && [ -e types.ts ]
echo "as described"
