import { describe, expect, test } from "vitest";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { KeptConnections } from "../../../../worker-node/outbound/kept-connections.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { refusingStore } from "../../fakes.ts";
import { valueOf } from "./call.ts";
import { isOnKeptConnection, newServer, oldServer, rawServer, writeJson } from "./servers.ts";
import { closeAfterTest } from "./close-after-test.ts";

/** A worker's MCP tools, and calls of the tool `add` of a server with them. */
function worker() {
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    // Whatever the machine's speed, none is idle for too long.
    connections: new KeptConnections({ idleMs: 60_000 }),
    store: { ...refusingStore, saveMcpListing: async () => null },
  });
  closeAfterTest(tools);
  const row = (url: string, tenant: string) => ({
    name: "srv",
    server_type: "remote",
    url,
    owner: "_shared",
    tenant,
    version: 1,
  });
  const call = (url: string, tenant = "acme") => {
    const server = row(url, tenant);
    const tool = { tool_type: "mcp", name: "srv__add", tool: "add", description: "", server };
    return valueOf(tools, { ...tool, inputSchema: { type: "object" } }, { a: 2, b: 3 });
  };
  const list = (url: string) => tools.list(row(url, "acme"), new AbortController().signal);
  return { call, list };
}

// Fails when each request opens a connection, which costs a round trip, and with TLS two or three.
describe.each([
  ["2026-07-28", newServer],
  ["2025-11-25", oldServer],
] as const)("calls of a server of protocol %s", (_, start) => {
  test("open no connection beyond those of the first one, and tenants share none", async () => {
    const server = await start();
    closeAfterTest(server);
    const { call } = worker();
    await call(server.url);
    const first = server.connections();
    for (let i = 0; i < 3; i += 1) expect(await call(server.url)).toEqual({ sum: 5 });
    expect(server.connections()).toBe(first);
    await call(server.url, "umbra");
    expect(server.connections()).toBeGreaterThan(first);
  });
});

/** A server that closes a kept connection, without a response, when it brings this method for the first time. */
async function closingServer(method: "tools/list" | "tools/call") {
  const received: string[] = [];
  let hasClosed = false;
  const answerOf = (name: string, result: object) => () => {
    received.push(name);
    return result;
  };
  const server = await rawServer(
    {
      "tools/list": answerOf("tools/list", { tools: [] }),
      "tools/call": answerOf("tools/call", { content: [{ type: "text", text: "done" }] }),
    },
    (response, answer) => {
      const closes = !hasClosed && received.at(-1) === method && isOnKeptConnection(response);
      hasClosed ||= closes;
      if (closes) response.req.socket.destroy();
      else writeJson(response, answer);
    },
  );
  closeAfterTest(server);
  return { ...server, received };
}

describe("a server that closes a kept connection as a request comes", () => {
  // Fails when the call, which the server may have carried out, is sent a second time.
  test("gets a call of a tool once, and the next one over a new connection", async () => {
    const server = await closingServer("tools/call");
    const { call } = worker();
    // The stream of notices has the first connection.
    expect(await call(server.url)).toBe("done");
    await expect(call(server.url)).rejects.toMatchObject({ code: "mcp_unreachable" });
    expect(server.received).toHaveLength(2);
    const before = server.connections();
    for (let i = 0; i < 3; i += 1) expect(await call(server.url)).toBe("done");
    expect(server.received).toHaveLength(5);
    expect(server.connections() - before).toBeGreaterThanOrEqual(3);
  });

  test("gets a listing again", async () => {
    const server = await closingServer("tools/list");
    const { list } = worker();
    // Of a listing's own connections the stream of notices has one.
    await Promise.all([list(server.url), list(server.url), list(server.url)]);
    for (let i = 0; i < 2; i += 1) expect(await list(server.url)).toEqual({ tools: [], left_out: [] });
    expect(server.received).toHaveLength(6);
  });
});

describe("a connection that has listed the tools", () => {
  // Fails when the library checks the results that come over it: it would refuse a call that was made, or not make it.
  test.each([
    ["a step that binary fractions miss", { type: "number", multipleOf: 0.01 }],
    ["a pattern that the library cannot compile", { type: "string", pattern: String.raw`^\d\-\d$` }],
    ["a field that the result leaves out", { type: "number" }, ["weight"]],
  ])("takes results whose output schema has %s", async (_, price, required = []) => {
    const outputSchema = { type: "object", properties: { price }, required };
    const server = await rawServer({
      "tools/list": () => ({ tools: [{ name: "add", inputSchema: { type: "object" }, outputSchema }] }),
      "tools/call": () => ({ content: [], structuredContent: { price: 19.99 } }),
    });
    closeAfterTest(server);
    const { call, list } = worker();
    await list(server.url);
    expect(await call(server.url)).toEqual({ price: 19.99 });
  });
});
