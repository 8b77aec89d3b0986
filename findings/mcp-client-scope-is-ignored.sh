#!/usr/bin/env bash
# The official MCP client asks for the scopes that the server lists, and not for the scope that its user has set.
#
# Version: @modelcontextprotocol/client 2.4.0.
# Input: a server behind OAuth whose metadata (RFC 9728) list `scopes_supported`, and a ClientCredentialsProvider with a `scope` of its own.
# Seen: the request for a token has the server's scopes. The user's scope is sent only where the server lists none. A client of this
# grant often may have one scope alone (`api://…/.default`), so the authorization server refuses the request as `invalid_scope`. The same
# happens to the issuer: of two authorization servers the first is asked, and the expected one, when it is the second, never.
# The script fails when the behaviour changes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @modelcontextprotocol/client@2.4.0 >/dev/null
cat > probe.mjs <<'JS'
import { createServer } from "node:http";
import { ClientCredentialsProvider, auth } from "@modelcontextprotocol/client";
const asked = async (ofServer) => {
  let scope = "no request";
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    const own = `http://${request.headers.host}`;
    const ofIssuer = {
      issuer: own,
      authorization_endpoint: `${own}/authorize`,
      token_endpoint: `${own}/token`,
      response_types_supported: ["code"],
    };
    if (request.url === "/token") scope = new URLSearchParams(body).get("scope");
    const isServer = request.url.includes("oauth-protected-resource");
    const resource = { resource: `${own}/mcp`, authorization_servers: [own], ...ofServer(own) };
    const answer = request.url === "/token" ? { access_token: "t", token_type: "Bearer" } : isServer ? resource : ofIssuer;
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const own = `http://127.0.0.1:${server.address().port}`;
  const client = { clientId: "me", clientSecret: "s", expectedIssuer: own, scope: "api/.default" };
  const fetchFn = (url, init) => {
    if (new URL(url).origin !== own) throw new Error("another authorization server is asked");
    return fetch(url, init);
  };
  const provider = new ClientCredentialsProvider(client);
  await auth(provider, { serverUrl: `${own}/mcp`, fetchFn }).catch((error) => (scope = error.message));
  return scope;
};
console.log("no scopes:", await asked(() => ({})));
console.log("scopes:", await asked(() => ({ scopes_supported: ["read", "write"] })));
console.log("issuers:", await asked((own) => ({ authorization_servers: ["https://a.example.com", own] })));
process.exit(0);
JS
seen=$(timeout 60 node probe.mjs)
echo "$seen"
[ "$seen" = "no scopes: api/.default
scopes: read write
issuers: another authorization server is asked" ]
echo "as described"
