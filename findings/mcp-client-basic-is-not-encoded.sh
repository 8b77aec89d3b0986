#!/usr/bin/env bash
# The official MCP client sends id and secret of an OAuth client as they are, where RFC 6749 (2.3.1) has them form-encoded first.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a ClientCredentialsProvider with characters that the encoding changes, and an authorization server that decodes both as the RFC
# says, as Spring Authorization Server does (spring-attic/spring-authorization-server #1410, #1895).
# Seen: a secret with a plus arrives with a space, and an id with a colon loses its rest to the secret. A secret beyond Latin-1 is never
# sent: auth() rejects with an error that names neither the secret nor OAuth. With plain letters and digits all works.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { ClientCredentialsProvider, auth } from "@modelcontextprotocol/client";
let seen = "no request";
const server = createServer((request, response) => {
  const own = `http://${request.headers.host}`;
  const metadata = {
    issuer: own,
    authorization_endpoint: `${own}/authorize`,
    token_endpoint: `${own}/token`,
    response_types_supported: ["code"],
  };
  const [, credentials = ""] = request.headers.authorization?.split(" ") ?? [];
  const [id = "", secret = ""] = Buffer.from(credentials, "base64").toString().split(/:(.*)/s);
  const decoded = (text) => new URLSearchParams(`v=${text}`).get("v");
  if (request.url === "/token") seen = `${decoded(id)} / ${decoded(secret)}`;
  const isServer = request.url.includes("oauth-protected-resource");
  const answer = request.url === "/token" ? { access_token: "t", token_type: "Bearer" } : metadata;
  response.writeHead(isServer ? 404 : 200, { "content-type": "application/json" }).end(JSON.stringify(answer));
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const own = `http://127.0.0.1:${server.address().port}`;
for (const [clientId, clientSecret] of [["me", "abc1"], ["me", "a+b"], ["team:1", "abc1"], ["me", "\u20ac"]]) {
  seen = "no request";
  const provider = new ClientCredentialsProvider({ clientId, clientSecret, expectedIssuer: own });
  const outcome = await auth(provider, { serverUrl: `${own}/mcp` }).catch((error) => error.name);
  console.log(`${clientId} / ${clientSecret} -> ${seen} ${outcome}`);
}
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "me / abc1 -> me / abc1 AUTHORIZED
me / a+b -> me / a b AUTHORIZED
team:1 / abc1 -> team / 1:abc1 AUTHORIZED
me / € -> no request InvalidCharacterError" ]
echo "as described"
