import { afterEach, describe, expect, test, vi } from "vitest";
import { McpListing } from "../../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { valueOf } from "./call.ts";
import { refusingStore } from "../../fakes.ts";
import { forward, guardedServer } from "./guarded-server.ts";
import type { Guard } from "./guarded-server.ts";
import { listen, newServer, rawServer, sseServer, writeJson } from "./servers.ts";
import type { TestServer } from "./servers.ts";
import { closeAfterTest, started } from "./close-after-test.ts";

afterEach(() => void vi.restoreAllMocks());

function clientOf(url: string, fields: JsonObject = {}) {
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    store: refusingStore,
  });
  closeAfterTest(tools);
  const server = { name: "srv", server_type: "remote", url, owner: "acme", version: 1, ...fields };
  const never = new AbortController().signal;
  return {
    list: async () => McpListing.parse(await tools.list(server, never)),
    add: (): Promise<Json> => {
      const tool = { tool_type: "mcp", name: "srv__add", tool: "add", description: "", server };
      return valueOf(tools, { ...tool, inputSchema: { type: "object" } }, { a: 2, b: 3 });
    },
  };
}

describe("a server behind OAuth", () => {
  async function guarded(secret: string, guard?: Guard) {
    const inner = await started(newServer());
    const server = await started(guardedServer(inner.url, secret, guard));
    return { server, tokenRequests: server.tokenRequests, issuer: server.issuer };
  }
  test("gets a token of the client's credentials", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234");
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    expect((await clientOf(server.url, { oauth }).list()).tools.map(({ name }) => name)).toContain(
      "srv__add",
    );
    expect(tokenRequests).toHaveLength(1);
  });

  // Fails when one of the stream and the messages is without the token, or a new token does not reach both.
  test("of the transport SSE gets one token, and a new one after it has refused that", async () => {
    const inner = await started(sseServer());
    const { url, issuer, tokenRequests, revoke } = await started(guardedServer(inner.url, "sesame-1234"));
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(url, { oauth });
    expect([await add(), await add()]).toEqual([{ sum: 5 }, { sum: 5 }]);
    expect(tokenRequests).toHaveLength(1);
    revoke();
    expect(await add()).toEqual({ sum: 5 });
    expect(tokenRequests).toHaveLength(2);
  });

  // Fails when the library sends the tenant's headers for the MCP server to an authorization server.
  test("at another address does not send the server's headers to the authorization server", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234");
    const front = await started(
      listen((request, response) => {
        if (request.headers.authorization === "Bearer token-1") return forward(request, response, server.url);
        const origin = `http://${request.headers.host}`;
        if (request.url?.startsWith("/.well-known/oauth-protected-resource")) {
          return writeJson(response, { resource: `${origin}/mcp`, authorization_servers: [issuer] });
        }
        const metadata = `${origin}/.well-known/oauth-protected-resource/mcp`;
        response.writeHead(401, { "www-authenticate": `Bearer resource_metadata="${metadata}"` }).end();
      }),
    );
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    await clientOf(front.url, { oauth, headers: { "X-Key": "team-secret-1" } }).list();
    expect(tokenRequests).toHaveLength(1);
    expect(front.received.every(({ headers }) => headers["x-key"] === "team-secret-1")).toBe(true);
    const toIssuer = server.received.filter(({ url }) => url !== "/mcp");
    expect(toIssuer.map(({ url }) => url)).toContain("/token");
    expect(toIssuer.filter(({ headers }) => headers["x-key"] !== undefined)).toEqual([]);
  });

  test("of another issuer never gets the credentials, and the error of wrong ones has no secret", async () => {
    const { server, tokenRequests, issuer } = await guarded("sesame-1234");
    const elsewhere = {
      issuer: "https://auth.example.com",
      client_id: "me",
      client_secret: "sesame-1234",
      scope: "",
    };
    await expect(clientOf(server.url, { oauth: elsewhere }).list()).rejects.toMatchObject({
      code: "tool_unauthorized",
      message: expect.stringContaining("https://auth.example.com"),
    });
    expect(tokenRequests).toEqual([]);
    const wrong = { issuer, client_id: "me", client_secret: "wrong-secret-1", scope: "" };
    const error: unknown = await clientOf(server.url, { oauth: wrong })
      .list()
      .catch((caught: unknown) => caught);
    expect(error).toMatchObject({
      name: "TerminalError",
      code: "tool_unauthorized",
      // The authorization server refuses the client, and not the MCP server a token.
      message: expect.stringContaining("there is no access token for the MCP server srv: invalid_client"),
    });
    expect(String(error)).not.toContain("wrong-secret");
    await expect(clientOf(server.url).list()).rejects.toMatchObject({
      code: "tool_unauthorized",
      message: expect.stringContaining("its definition has no token, headers or oauth"),
    });
  });

  // Fails when each connection requests a token of its own, or when each of several calls at the same time does.
  test("gives one token for all calls, beside and after each other", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", { expiresIn: 3_600 });
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    const three = [{ sum: 5 }, { sum: 5 }, { sum: 5 }];
    expect(await Promise.all([add(), add(), add()])).toEqual(three);
    expect(await Promise.all([add(), add(), add()])).toEqual(three);
    expect(tokenRequests).toHaveLength(1);
  });

  test("is asked for another token when it refuses its earlier token", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", { expiresIn: 3_600 });
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    await add();
    server.revoke();
    expect(await Promise.all([add(), add()])).toEqual([{ sum: 5 }, { sum: 5 }]);
    expect(tokenRequests).toHaveLength(2);
  });

  // Fails when a token counts as expired from its beginning: no call is then made with any token.
  test.each([20, 1, 0])("is called with a token that lives %i s", async (expiresIn) => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", { expiresIn });
    vi.spyOn(performance, "now").mockReturnValue(1_000_000);
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    expect(await add()).toEqual({ sum: 5 });
    expect(await add()).toEqual({ sum: 5 });
    expect(tokenRequests).toHaveLength(1);
  });

  test("is asked for another token shortly before its earlier token expires", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", { expiresIn: 60 });
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    await add();
    await add();
    expect(tokenRequests).toHaveLength(1);
    const now = performance.now();
    vi.spyOn(performance, "now").mockReturnValue(now + 31_000);
    await add();
    expect(tokenRequests).toHaveLength(2);
  });

  // Fails when id and secret are not encoded: a colon ends the id, and a plus is a space.
  test.each(["a+b/c%d==", "geheim \u20ac"])(
    "gets the id and the secret %s in the form of RFC 6749",
    async (secret) => {
      const { server, issuer, tokenRequests } = await guarded(secret, { id: "team:1" });
      const oauth = { issuer, client_id: "team:1", client_secret: secret, scope: "" };
      expect(await clientOf(server.url, { oauth }).add()).toEqual({ sum: 5 });
      expect(tokenRequests).toHaveLength(1);
    },
  );

  test("whose issuer does not decode id and secret gets them as they are", async () => {
    const { server, issuer, tokenRequests } = await guarded("a+b/c==", { decodes: false });
    const oauth = { issuer, client_id: "me", client_secret: "a+b/c==", scope: "" };
    expect(await clientOf(server.url, { oauth }).add()).toEqual({ sum: 5 });
    expect(tokenRequests).toHaveLength(2);
  });

  test("gives the scope of its definition before those that it asks for itself", async () => {
    const scopes = { ofServer: () => ({ scopes_supported: ["read", "write"] }), challenge: 'scope="read"' };
    const asked = async (scope: string, guard: Guard): Promise<(string | null)[]> => {
      const { server, issuer } = await guarded("sesame-1234", guard);
      const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope };
      await clientOf(server.url, { oauth }).list();
      return server.scopes;
    };
    expect(await asked("api/.default", scopes)).toEqual(["api/.default"]);
    expect(await asked("", scopes)).toEqual(["read"]);
    expect(await asked("", { ofServer: scopes.ofServer })).toEqual(["read write"]);
    expect(await asked("", {})).toEqual([null]);
  });

  test.each<[string, Guard]>([
    [
      "accepts tokens of another issuer too",
      { ofServer: (own) => ({ authorization_servers: ["https://a.example.com", own] }) },
    ],
    ["has no metadata", { ofServer: () => null }],
    [
      "has metadata with nulls",
      { ofServer: () => ({ authorization_servers: null, scopes_supported: null }) },
    ],
    ["has an issuer that ends its name with a slash", { ofIssuer: (own) => ({ issuer: `${own}/` }) }],
    ["has an issuer without metadata", { ofIssuer: () => null }],
    [
      "has an issuer without a page for people",
      { ofIssuer: () => ({ authorization_endpoint: undefined, response_types_supported: undefined }) },
    ],
    [
      "has an issuer whose metadata have nulls",
      { ofIssuer: () => ({ registration_endpoint: null, scopes_supported: null }) },
    ],
    [
      "has an issuer whose tokens have nulls",
      { ofToken: { token_type: undefined, scope: null, refresh_token: null, expires_in: null } },
    ],
  ])("that %s is called", async (_, guard) => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", guard);
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    expect(await clientOf(server.url, { oauth }).add()).toEqual({ sum: 5 });
    expect(tokenRequests).toHaveLength(1);
  });

  test("that says it is another resource gets no token", async () => {
    const ofServer = () => ({ resource: "https://bank.example.com/mcp" });
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", { ofServer });
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    await expect(clientOf(server.url, { oauth }).list()).rejects.toMatchObject({
      code: "tool_unauthorized",
      message: expect.stringContaining("https://bank.example.com/mcp"),
    });
    expect(tokenRequests).toEqual([]);
  });

  test("whose issuer is away is tried again, and the error names the issuer", async () => {
    const away = { status: 503, body: {}, headers: { "retry-after": "7" } };
    const { server, issuer } = await guarded("sesame-1234", { refuses: away });
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    await expect(clientOf(server.url, { oauth }).add()).rejects.toMatchObject({
      code: "tool_unavailable",
      answered: true,
      retryAfterMs: 7_000,
      message: "the authorization server of the MCP server srv answered HTTP 503",
    });
  });

  // Fails when the form of the request is read as a message of MCP, because the issuer has the server's origin.
  test.each([400, 404])(
    "whose issuer refuses the client with HTTP %i is not called again",
    async (status) => {
      const refuses = { status, body: { error: "invalid_scope" }, headers: {} };
      const { server, issuer } = await guarded("sesame-1234", { refuses });
      const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "all" };
      await expect(clientOf(server.url, { oauth }).add()).rejects.toMatchObject({
        code: "tool_unauthorized",
        message: "there is no access token for the MCP server srv: invalid_scope",
      });
    },
  );

  // Fails when only the secrets of the definition are taken out of what a server quotes.
  test("that quotes its access token does not show it", async () => {
    const said = () => `you sent ${inner.received.at(-1)?.headers.authorization}`;
    const answers = [
      () => ({ content: [{ type: "text", text: said() }] }),
      () => ({ isError: true, content: [{ type: "text", text: said() }] }),
    ];
    const inner: TestServer = await started(rawServer({ "tools/call": () => answers.shift()?.() }));
    const server = await started(
      guardedServer(inner.url, "sesame-1234", { ofToken: { access_token: "tok-9f8e7d6c" } }),
    );
    const oauth = { issuer: server.issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    expect(await add()).toBe("you sent Bearer ***");
    await expect(add()).rejects.toMatchObject({
      message: "you sent Bearer ***",
      whole: "you sent Bearer ***",
    });
  });
});
