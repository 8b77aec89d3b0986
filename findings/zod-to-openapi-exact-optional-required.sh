#!/usr/bin/env bash
# A field of zod's exactOptional() is required in the document of @asteasolutions/zod-to-openapi, which @hono/zod-openapi uses.
#
# Versions: @asteasolutions/zod-to-openapi 9.1.0, zod 4.6.7.
# Input: an object schema with a field of exactOptional() (it may be absent, but not undefined) beside a field of optional().
# Seen: the document requires the first and not the second, while zod's own toJSONSchema requires neither. A client that checks
# answers against the document refuses those without the field.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @asteasolutions/zod-to-openapi@9.1.0 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { OpenApiGeneratorV31, OpenAPIRegistry, extendZodWithOpenApi } from "@asteasolutions/zod-to-openapi";
import { z } from "zod";
extendZodWithOpenApi(z);
const schema = z.object({ always: z.string(), exact: z.string().exactOptional(), plain: z.string().optional() });
const registry = new OpenAPIRegistry();
registry.register("Answer", schema);
const { components } = new OpenApiGeneratorV31(registry.definitions).generateComponents();
const ofZod = z.toJSONSchema(schema).required;
console.log(`absent is valid: ${schema.safeParse({ always: "x" }).success}; document: ${components.schemas.Answer.required}; zod: ${ofZod}`);
JS
seen=$(node probe.mjs)
echo "$seen"
[ "$seen" = "absent is valid: true; document: always,exact; zod: always" ]
echo "as described"
