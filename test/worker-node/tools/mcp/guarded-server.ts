import http from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { listen } from "./servers.ts";
import type { TestServer } from "./servers.ts";

/** An issuer, and a server behind it that accepts only the newest token. */
export type GuardedServer = TestServer & {
  issuer: string;
  /** The Authorization header of each request for a token. */
  tokenRequests: string[];
  /** The scope of each request for a token. */
  scopes: (string | null)[];
  /** From now on the server refuses the tokens that it has issued so far. */
  revoke(): void;
};

/** What a guarded server and its issuer do otherwise than in the plain case. */
export type Guard = {
  /** The life of a token, in seconds. */
  expiresIn?: number;
  /** The client's id, with which the issuer knows its secret. */
  id?: string;
  /** The issuer does not decode what RFC 6749 encodes (2.3.1). */
  decodes?: boolean;
  /** Fields of the metadata of the server, of those of its issuer, and of the answer with a token; null: there are no such metadata. */
  ofServer?: (origin: string) => object | null;
  ofIssuer?: (origin: string) => object | null;
  ofToken?: { access_token?: string } & Record<string, unknown>;
  /** Parameters of the server's challenge. */
  challenge?: string;
  /** What the issuer answers in place of a token. */
  refuses?: { status: number; body: object; headers?: Record<string, string> };
};

/** @param inner the MCP server */
export async function guardedServer(
  inner: string,
  secret: string,
  {
    expiresIn,
    id = "me",
    decodes = true,
    ofServer = () => ({}),
    ofIssuer = () => ({}),
    ofToken = {},
    challenge,
    refuses,
  }: Guard = {},
): Promise<GuardedServer> {
  const tokenRequests: string[] = [];
  const scopes: (string | null)[] = [];
  let valid = "";
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const origin = `http://${request.headers.host}`;
    const send = (status: number, body: object, headers = {}): void => {
      response
        .writeHead(status, { "content-type": "application/json", ...headers })
        .end(JSON.stringify(body));
    };
    if (request.url?.startsWith("/.well-known/oauth-protected-resource")) {
      const more = ofServer(origin);
      if (more === null) return send(404, {});
      return send(200, { resource: `${origin}/mcp`, authorization_servers: [origin], ...more });
    }
    if (request.url?.includes("/.well-known/")) {
      const more = ofIssuer(origin);
      if (more === null) return send(404, {});
      return send(200, {
        issuer: origin,
        authorization_endpoint: `${origin}/authorize`,
        token_endpoint: `${origin}/token`,
        response_types_supported: ["code"],
        token_endpoint_auth_methods_supported: ["client_secret_basic"],
        ...more,
      });
    }
    if (request.url === "/token") {
      tokenRequests.push(request.headers.authorization ?? "");
      scopes.push(new URLSearchParams(await text(request)).get("scope"));
      if (refuses !== undefined) return send(refuses.status, refuses.body, refuses.headers);
      if (!isClient(request.headers.authorization, [id, secret], decodes))
        return send(401, { error: "invalid_client" });
      valid = ofToken.access_token ?? `token-${tokenRequests.length}`;
      const expires = expiresIn === undefined ? {} : { expires_in: expiresIn };
      return send(200, { access_token: valid, token_type: "Bearer", ...expires, ...ofToken });
    }
    if (request.headers.authorization === `Bearer ${valid}`) return forward(request, response, inner);
    const metadata = `${origin}/.well-known/oauth-protected-resource/mcp`;
    const parameters = [`resource_metadata="${metadata}"`, challenge].filter(Boolean).join(", ");
    send(401, {}, { "www-authenticate": `Bearer ${parameters}` });
  };
  const server = await listen((request, response) => void respond(request, response));
  return {
    ...server,
    issuer: new URL(server.url).origin,
    tokenRequests,
    scopes,
    revoke: () => (valid = "none"),
  };
}

function isClient(authorization: string | undefined, client: string[], decodes: boolean): boolean {
  const [, base64 = ""] = authorization?.split(" ") ?? [];
  const credentials = Buffer.from(base64, "base64").toString();
  if (!decodes) return credentials === client.join(":");
  const parts = credentials.split(":").map((part) => decodeURIComponent(part.replaceAll("+", " ")));
  return parts.length === 2 && parts.every((part, i) => part === client[i]);
}

/** Passes a request on to another server of the test, with its path, and its answer back as it arrives. */
export function forward(request: IncomingMessage, response: ServerResponse, url: string): void {
  const headers = { ...request.headers, host: new URL(url).host };
  const onward = http.request(
    new URL(request.url ?? "/", url),
    { method: request.method, headers },
    (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    },
  );
  onward.on("error", () => response.destroy());
  response.on("close", () => onward.destroy());
  request.pipe(onward);
}
