import http from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { listen } from "./servers.ts";
import type { TestServer } from "./servers.ts";

/** An issuer, and a server behind it that accepts only the newest token. */
export type GuardedServer = TestServer & {
  issuer: string;
  /** The Authorization header of each request for a token. */
  tokenRequests: string[];
  /** From now on the server refuses the tokens that it has issued so far. */
  revoke(): void;
};

/** @param inner the MCP server; `expiresIn`: the life of a token, in seconds */
export async function guardedServer(
  inner: string,
  secret: string,
  expiresIn?: number,
): Promise<GuardedServer> {
  const tokenRequests: string[] = [];
  let valid = "";
  const server = await listen((request, response) => {
    const origin = `http://${request.headers.host}`;
    const send = (status: number, body: object, headers = {}): void => {
      response
        .writeHead(status, { "content-type": "application/json", ...headers })
        .end(JSON.stringify(body));
    };
    if (request.url?.startsWith("/.well-known/oauth-protected-resource")) {
      return send(200, { resource: `${origin}/mcp`, authorization_servers: [origin] });
    }
    if (request.url?.startsWith("/.well-known/")) {
      return send(200, {
        issuer: origin,
        authorization_endpoint: `${origin}/authorize`,
        token_endpoint: `${origin}/token`,
        response_types_supported: ["code"],
        token_endpoint_auth_methods_supported: ["client_secret_basic"],
      });
    }
    if (request.url === "/token") {
      tokenRequests.push(request.headers.authorization ?? "");
      if (request.headers.authorization !== `Basic ${btoa(`me:${secret}`)}`)
        return send(401, { error: "invalid_client" });
      valid = `token-${tokenRequests.length}`;
      const expires = expiresIn === undefined ? {} : { expires_in: expiresIn };
      return send(200, { access_token: valid, token_type: "Bearer", ...expires });
    }
    if (request.headers.authorization === `Bearer ${valid}`) return forward(request, response, inner);
    const metadata = `${origin}/.well-known/oauth-protected-resource/mcp`;
    send(401, {}, { "www-authenticate": `Bearer resource_metadata="${metadata}"` });
  });
  return {
    ...server,
    issuer: new URL(server.url).origin,
    tokenRequests,
    revoke: () => (valid = "none"),
  };
}

/** Passes a request on to another server of the test, and its answer back as it arrives. */
export function forward(request: IncomingMessage, response: ServerResponse, url: string): void {
  const headers = { ...request.headers, host: new URL(url).host };
  const onward = http.request(url, { method: request.method, headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 500, answer.headers);
    response.flushHeaders();
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}
