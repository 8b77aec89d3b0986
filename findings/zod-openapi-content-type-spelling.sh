#!/usr/bin/env bash
# @hono/zod-openapi refuses JSON bodies whose Content-Type is legal and spelled otherwise than it expects, and empty optional bodies.
#
# Versions: @hono/zod-openapi 1.6.3, hono 4.13.19, zod 4.6.7.
# Input: a route with an optional JSON body. Its Content-Type has white space before the semicolon, or a semicolon at the end, which
# RFC 9110 (5.6.6) allows; or a structured suffix type whose name has a digit; or there is no body, with the type that
# `curl -X POST -d ""` sends.
# Seen: 415 for all of them, before the handler runs. A body of type application/json is served, and so is no body without a type.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @hono/zod-openapi@1.6.3 hono@4.13.19 zod@4.6.7 >/dev/null
cat > probe.mjs <<'JS'
import { OpenAPIHono, createRoute, z } from "@hono/zod-openapi";
const route = createRoute({
  method: "post",
  path: "/",
  request: { body: { content: { "application/json": { schema: z.object({ a: z.number().optional() }) } } } },
  responses: { 200: { description: "ok" } },
});
const app = new OpenAPIHono();
app.openapi(route, (c) => c.text("ok"));
const send = async (type, body) =>
  (await app.request("/", { method: "POST", body, headers: type === null ? {} : { "content-type": type } })).status;
const seen = [
  await send("application/json", '{"a":1}'),
  await send(null),
  await send("application/json ; charset=utf-8", '{"a":1}'),
  await send("application/json;", '{"a":1}'),
  await send("application/vnd.acme.v2+json", '{"a":1}'),
  await send("application/x-www-form-urlencoded", ""),
];
console.log(seen.join(" "));
JS
seen=$(node probe.mjs)
echo "$seen"
[ "$seen" = "200 200 415 415 415 415" ]
echo "as described"
