import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../../shared/contracts/json.ts";
import type { McpListed } from "../../../../shared/store/definitions/mcp-servers.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { valueOf } from "./call.ts";
import { toolName } from "../../../../worker-node/tools/mcp/list-tools.ts";
import { refusingStore } from "../../fakes.ts";
import { listen, newServer, oldServer, sseServer } from "./servers.ts";
import { started } from "./close-after-test.ts";
import { forward } from "./guarded-server.ts";

/** A worker's MCP tools and one stored server. */
function clientOf(url: string, options: { allow?: string; timeoutMs?: number; server?: JsonObject } = {}) {
  const { allow = "127.0.0.1", timeoutMs = 10_000, server = {} } = options;
  const saved: McpListed[] = [];
  const tools = new McpTools({
    egress: createEgress(allow),
    timeoutMs,
    masterKey: null,
    store: {
      ...refusingStore,
      saveMcpListing: async (found) => {
        saved.push(found);
        return null;
      },
    },
  });
  const stored = { name: "srv", server_type: "remote", url, owner: "acme", version: 3, ...server };
  const never = new AbortController().signal;
  const list = (known: JsonObject = { listing: null, age_ms: null }) =>
    tools.toolsOf({ ...stored, ...known }, never);
  const call = async (name: string, args: JsonObject = {}): Promise<Json> => {
    const tool = {
      tool_type: "mcp",
      name: `srv__${name}`,
      tool: name,
      description: "",
      inputSchema: { type: "object" },
      server: stored,
    };
    return valueOf(tools, tool, args);
  };
  return { saved, list, call, close: () => tools.close() };
}

describe("an MCP server of protocol 2026-07-28", () => {
  test("offers its tools by names that every provider accepts, and the listing is saved", async () => {
    const server = await started(newServer());
    const { saved, list } = clientOf(server.url);
    const tools = await list();
    expect(tools.map(({ name, tool }) => [name, tool])).toEqual([
      ["srv__add", "add"],
      ["srv__fail", "fail"],
      ["srv__a_dotted_name", "a.dotted.name"],
      ["srv__visit", "visit"],
      ["srv__think", "think"],
      ["srv__ask", "ask"],
    ]);
    expect(tools[0]).toMatchObject({
      description: "Adds two numbers",
      inputSchema: { type: "object", required: ["a", "b"] },
    });
    expect(saved).toMatchObject([{ owner: "acme", id: "srv", version: 3, error: null }]);
    // What was listed is used without a request, also of a server that is gone.
    const before = server.received.length;
    expect(await list({ listing: saved[0]?.listing ?? null, age_ms: 1_000 })).toEqual(tools);
    expect(server.received).toHaveLength(before);
  });

  test("gives structured content, text, and its refusal of a call, and gets the effect key", async () => {
    const server = await started(newServer());
    const { call } = clientOf(server.url);
    expect(await call("add", { a: 2, b: 3 })).toEqual({ sum: 5 });
    expect(server.seen).toMatchObject([{ "synapse-edge/idempotency-key": "run_1:s:1:tool.1" }]);
    // The three requests are for its protocol, its notices and the call.
    expect(server.received.map(({ headers }) => headers["mcp-method"])).toEqual([
      "server/discover",
      "subscriptions/listen",
      "tools/call",
    ]);
    expect(await call("a.dotted.name")).toBe("plain text");
    await expect(call("fail")).rejects.toMatchObject({
      name: "ToolRejection",
      code: "tool_rejected",
      message: "no such row",
    });
    await expect(call("add", { a: "x" })).rejects.toMatchObject({
      name: "ToolRejection",
      code: "tool_rejected",
    });
    await expect(call("none")).rejects.toMatchObject({ name: "ToolRejection" });
  });
});

describe("an older MCP server", () => {
  test("with sessions gets the end of each", async () => {
    const server = await started(oldServer());
    const { call, list, close } = clientOf(server.url);
    expect((await list()).map(({ name }) => name)).toEqual(["srv__add", "srv__ask", "srv__hang"]);
    expect(await call("add", { a: 2, b: 3 })).toEqual({ sum: 5 });
    await close();
    expect(server.begun).toHaveLength(2);
    expect([...server.sessions.keys()]).toEqual([]);
  });

  test("that has lost its sessions is initialized anew", async () => {
    const server = await started(oldServer());
    server.forgetAfter.add("tools/call");
    expect(await clientOf(server.url).call("add", { a: 2, b: 3 })).toEqual({ sum: 5 });
  });

  test("that knows the transport SSE alone is used through it", async () => {
    const server = await started(sseServer());
    const { call, list } = clientOf(server.url);
    expect(await list()).toHaveLength(2);
    expect(await call("add", { a: 2, b: 3 })).toEqual({ sum: 5 });
  });

  test("that asks a person something gets an error, and never waits", async () => {
    const server = await started(oldServer());
    await expect(clientOf(server.url).call("ask")).rejects.toMatchObject({ name: "ToolRejection" });
  });
});

describe("a server that cannot be used", () => {
  const refusing = (status: number, headers = {}) =>
    listen((_, response) => void response.writeHead(status, headers).end("sesame-1234 is wrong"));

  test("because its address is private is refused by the guard, and a redirect to such an address is not followed", async () => {
    const server = await started(newServer());
    await expect(clientOf(server.url, { allow: "" }).list()).rejects.toMatchObject({
      code: "egress_blocked",
    });
    expect(server.received).toEqual([]);
    // A redirect to the same origin passes the guard again; to another origin it is not followed.
    const away = await started(refusing(307, { location: "http://169.254.169.254/latest" }));
    await expect(clientOf(away.url).list()).rejects.toMatchObject({
      code: "tool_redirected",
      message: expect.stringContaining("HTTP 307 to http://169.254.169.254/latest"),
    });
    const nowhere = await started(listen((_, response) => void response.writeHead(303).end()));
    await expect(clientOf(nowhere.url).list()).rejects.toMatchObject({
      code: "tool_redirected",
      message: expect.stringContaining("HTTP 303: redirects"),
    });
  });

  test.each([301, 302, 307, 308])(
    "at its url without a slash, HTTP %i, is used at the other one",
    async (status) => {
      const inner = await started(newServer());
      const server = await started(
        listen((request, response) => {
          if (request.url === "/mcp/") return forward(request, response, inner.url);
          response.writeHead(status, { location: "/mcp/" }).end();
        }),
      );
      expect(await clientOf(server.url).list()).not.toEqual([]);
    },
  );

  test.each([
    [401, "TerminalError", "tool_unauthorized", undefined],
    [403, "TerminalError", "tool_unauthorized", undefined],
    [429, "RetryableError", "tool_unavailable", true],
    [500, "RetryableError", "tool_unavailable", false],
    [503, "RetryableError", "tool_unavailable", false],
  ])("by its answer HTTP %i is a %s, without its secret", async (status, name, code, answered) => {
    const server = await started(refusing(status, { "retry-after": "7" }));
    const { list, saved } = clientOf(server.url, {
      server: { headers: { Authorization: "Bearer sesame-1234" } },
    });
    const error: unknown = await list().catch((caught: unknown) => caught);
    expect(error).toMatchObject({ name, code });
    expect(server.received[0]?.headers.authorization).toBe("Bearer sesame-1234");
    expect(JSON.stringify([String(error), saved])).not.toContain("sesame");
    // A call that may have been carried out keeps its effect key.
    if (name === "RetryableError") expect(error).toMatchObject({ retryAfterMs: 7_000, answered });
    expect(saved).toMatchObject([{ listing: null, error: expect.stringContaining("srv") }]);
  });

  // Fails when the error is that of the older transport alone, which a user has not asked for.
  test.each([
    [404, /^the MCP server srv has no MCP at its url, .*: HTTP 404$/],
    [200, /^the MCP server srv has no MCP at its url, .*text\/event-stream/],
  ])("because its url is that of something else says so, at HTTP %i", async (status, message) => {
    const server = await started(
      listen(({ method }, response) => {
        response.writeHead(method === "POST" ? 404 : status, { "content-type": "text/html" }).end();
      }),
    );
    await expect(clientOf(server.url).list()).rejects.toMatchObject({
      code: "mcp_answer",
      message: expect.stringMatching(message),
    });
  });

  test("because nothing listens there cannot be reached", async () => {
    const server = await listen(() => {});
    await server.close();
    await expect(clientOf(server.url).call("add")).rejects.toMatchObject({
      name: "RetryableError",
      code: "mcp_unreachable",
    });
  });

  test("because it never answers ends with our own time limit", async () => {
    const server = await started(listen(() => {}));
    await expect(clientOf(server.url, { timeoutMs: 300 }).call("add")).rejects.toMatchObject({
      code: "tool_timeout",
    });
  });

  test("because it only lets the client poll ends with our own time limit", async () => {
    const server = await started(
      listen((_, response) => {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.end("retry: 10\nid: 1\ndata:\n\n");
      }),
    );
    await expect(clientOf(server.url, { timeoutMs: 500 }).call("add")).rejects.toMatchObject({
      code: "tool_timeout",
    });
  });

  test("because it answers too much is reported to the model", async () => {
    const server = await started(
      listen(
        (_, response) =>
          void response.writeHead(200, { "content-type": "application/json" }).end("x".repeat(2_000_000)),
      ),
    );
    await expect(clientOf(server.url).call("add")).rejects.toMatchObject({
      name: "ToolRejection",
      code: "answer_too_large",
    });
  });

  test("because it answers what is no MCP is reported to the model", async () => {
    const server = await started(
      listen(
        (_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>sesame</p>"),
      ),
    );
    await expect(clientOf(server.url).call("add")).rejects.toMatchObject({
      name: "ToolRejection",
      code: "mcp_answer",
    });
  });
});

test("the name of a tool has at most 64 characters, and stays the same in any order of listing", () => {
  const long = "x".repeat(100);
  expect(toolName("github", long, { isTaken: false })).toMatch(/^github__x{47}_[0-9a-f]{8}$/);
  expect(toolName("github", `${long}y`, { isTaken: false })).not.toBe(
    toolName("github", long, { isTaken: false }),
  );
  expect(toolName("github", "a/b", { isTaken: true })).toMatch(/^github__a_b_[0-9a-f]{8}$/);
});
