import { afterEach, describe, expect, test, vi } from "vitest";
import { McpListing } from "../../../../shared/contracts/definition/index.ts";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { valueOf } from "./call.ts";
import { refusingStore } from "../../fakes.ts";
import { forward, guardedServer } from "./guarded-server.ts";
import { listen, newServer, writeJson } from "./servers.ts";
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
  async function guarded(secret: string, expiresIn?: number) {
    const inner = await started(newServer());
    const server = await started(guardedServer(inner.url, secret, expiresIn));
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
      message: expect.stringContaining("there is no access token for the MCP server srv (invalid_client)"),
    });
    expect(String(error)).not.toContain("wrong-secret");
    await expect(clientOf(server.url).list()).rejects.toMatchObject({
      code: "tool_unauthorized",
      message: expect.stringContaining("its definition has no token, headers or oauth"),
    });
  });

  // Fails when each connection requests a token of its own, or when each of several calls at the same time does.
  test("gives one token for all calls, beside and after each other", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", 3_600);
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    const three = [{ sum: 5 }, { sum: 5 }, { sum: 5 }];
    expect(await Promise.all([add(), add(), add()])).toEqual(three);
    expect(await Promise.all([add(), add(), add()])).toEqual(three);
    expect(tokenRequests).toHaveLength(1);
  });

  test("is asked for another token when it refuses its earlier token", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", 3_600);
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    await add();
    server.revoke();
    expect(await Promise.all([add(), add()])).toEqual([{ sum: 5 }, { sum: 5 }]);
    expect(tokenRequests).toHaveLength(2);
  });

  // Fails when a token counts as expired from its beginning: no call is then made with any token.
  test.each([20, 1, 0])("is called with a token that lives %i s", async (expiresIn) => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", expiresIn);
    vi.spyOn(performance, "now").mockReturnValue(1_000_000);
    const oauth = { issuer, client_id: "me", client_secret: "sesame-1234", scope: "" };
    const { add } = clientOf(server.url, { oauth });
    expect(await add()).toEqual({ sum: 5 });
    expect(await add()).toEqual({ sum: 5 });
    expect(tokenRequests).toHaveLength(1);
  });

  test("is asked for another token shortly before its earlier token expires", async () => {
    const { server, issuer, tokenRequests } = await guarded("sesame-1234", 60);
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
});
