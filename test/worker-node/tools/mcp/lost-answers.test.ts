import type { ServerResponse } from "node:http";
import { afterEach, describe, expect, test } from "vitest";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { refusingStore } from "../../fakes.ts";
import { valueOf } from "./call.ts";
import { bodyOf, listen, rawServer, writeJson } from "./servers.ts";
import type { TestServer } from "./servers.ts";

const open: TestServer[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((server) => server.close()));
});

/** A call of a tool at this server, whose time limit is longer than the test's. */
async function called(starting: Promise<TestServer>): Promise<unknown> {
  const { url, ...server } = await starting;
  open.push({ url, ...server });
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    store: refusingStore,
  });
  const stored = { name: "srv", server_type: "remote", url, owner: "acme", version: 1 };
  const tool = { tool_type: "mcp", name: "srv__t", tool: "t", description: "", server: stored };
  return valueOf(tools, { ...tool, inputSchema: { type: "object" } }, {});
}

/** A server that begins a stream for the answer of each call, and then does as the test says. */
function streaming(answer: (response: ServerResponse, json: string) => void): Promise<TestServer> {
  return replying((response, json) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    answer(response, json);
  });
}

/** A server whose replies to calls are the test's. */
function replying(answer: (response: ServerResponse, json: string) => void): Promise<TestServer> {
  const content = [{ type: "text", text: "the answer" }];
  return rawServer({ "tools/call": () => ({ content }) }, (response, message) => {
    const json = JSON.stringify(message);
    if (json.includes("the answer")) answer(response, json);
    else writeJson(response, message);
  });
}

/** A server of the oldest transport, whose stream does as the test says at the call of a tool. */
function oldest(answer: (stream: ServerResponse) => void): Promise<TestServer> {
  let stream: ServerResponse | undefined;
  return listen((request, response) => {
    void (async () => {
      if (request.method === "GET") {
        stream = response.writeHead(200, { "content-type": "text/event-stream" });
        stream.write("event: endpoint\ndata: /messages\n\n");
        return;
      }
      if (request.url !== "/messages") return void response.writeHead(405).end();
      const body = Object(await bodyOf(request));
      response.writeHead(202).end();
      const result = {
        protocolVersion: "2024-11-05",
        capabilities: {},
        serverInfo: { name: "oldest", version: "1" },
      };
      const outcome =
        body.method === "initialize" ? { result } : { error: { code: -32_601, message: "Method not found" } };
      if (body.id !== undefined && body.method !== "tools/call")
        stream?.write(`data: ${JSON.stringify({ jsonrpc: "2.0", id: body.id, ...outcome })}\n\n`);
      if (body.method === "tools/call" && stream !== undefined) answer(stream);
    })();
  });
}

// Each fails when the call waits for its time limit, and then reports that the tool did not answer in time.
describe("a call whose answer never comes ends at once", () => {
  test.each<[string, (response: ServerResponse, json: string) => void]>([
    ["ends", (response) => void response.end(": hi\n\n")],
    [
      "breaks",
      (response) => {
        response.write(": hi\n\n", () => response.destroy());
      },
    ],
    // The library then asks for the rest of the stream, which this server refuses.
    [
      "ends after an event that can be resumed",
      (response) => void response.end("retry: 1\nid: 1\ndata:\n\n"),
    ],
  ])("as a stream %s before it", async (_, answer) => {
    await expect(called(streaming(answer))).rejects.toMatchObject({
      name: "RetryableError",
      code: "mcp_unreachable",
      message: expect.stringContaining("closed the connection before its answer"),
    });
  });

  test("as the server only accepts it, with HTTP 202, and has no other stream", async () => {
    const answer = (response: ServerResponse): void => void response.writeHead(202).end();
    await expect(called(replying(answer))).rejects.toMatchObject({
      name: "RetryableError",
      code: "mcp_unreachable",
    });
  });

  test("as it is too large for a stream", async () => {
    const answer = (response: ServerResponse, json: string): void => {
      response.write(`id: 1\ndata:\n\n`);
      response.end(`id: 2\ndata: ${json.replace("the answer", "x".repeat(2_000_000))}\n\n`);
    };
    await expect(called(streaming(answer))).rejects.toMatchObject({
      name: "ToolRejection",
      code: "answer_too_large",
    });
  });

  test.each([
    ["JSON", "data: {oops\n\n"],
    ["JSON-RPC", 'data: {"data":null}\n\n'],
  ])("as what a stream has in its place is no %s", async (_, events) => {
    await expect(called(streaming((response) => void response.end(events)))).rejects.toMatchObject({
      name: "ToolRejection",
      code: "mcp_answer",
    });
  });

  test.each<[string, (stream: ServerResponse) => void, string]>([
    ["ends", (stream) => void stream.end(), "mcp_unreachable"],
    ["breaks", (stream) => void stream.destroy(), "mcp_unreachable"],
    ["cannot be read", (stream) => void stream.write("data: {oops\n\n"), "mcp_answer"],
    ["is too large", (stream) => void stream.write(`data: ${"x".repeat(2_000_000)}`), "answer_too_large"],
  ])("as the stream of the oldest transport %s", async (_, answer, code) => {
    await expect(called(oldest(answer))).rejects.toMatchObject({ code });
  });
});

/** A server that answers each call with 202, and sends the answer over the stream of its notices, as early versions of the protocol may. */
function answeringApart(): Promise<TestServer> {
  const notices = Promise.withResolvers<ServerResponse>();
  return listen((request, response) => {
    void (async () => {
      if (request.method === "GET")
        return notices.resolve(response.writeHead(200, { "content-type": "text/event-stream" }));
      if (request.method !== "POST") return void response.writeHead(405).end();
      const { id, method } = Object(await bodyOf(request));
      if (id === undefined) return void response.writeHead(202).end();
      const serverInfo = { name: "apart", version: "1" };
      const result =
        method === "initialize"
          ? { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo }
          : { content: [{ type: "text", text: "from the other stream" }] };
      if (method === "tools/call") {
        response.writeHead(202).end();
        (await notices.promise).write(`data: ${JSON.stringify({ jsonrpc: "2.0", id, result })}\n\n`);
        return;
      }
      const isKnown = method === "initialize";
      const error = { code: -32_601, message: "Method not found" };
      response.setHeader("mcp-session-id", "s-1");
      writeJson(response, { jsonrpc: "2.0", id, ...(isKnown ? { result } : { error }) });
    })();
  });
}

test("a call that is answered with HTTP 202 has the answer that comes over the stream of notices", async () => {
  expect(await called(answeringApart())).toBe("from the other stream");
});

// Fails when the end of an answered request's stream loses the answer to the next request. The framework tmcp streams each answer.
test("a call is not lost with the stream of an earlier answer", async () => {
  const earlier: ServerResponse[] = [];
  const server = rawServer(
    {
      "server/discover": () => ({
        supportedVersions: ["2026-07-28"],
        capabilities: { tools: {} },
        resultType: "complete",
        ttlMs: 0,
        cacheScope: "private",
        _meta: { "io.modelcontextprotocol/serverInfo": { name: "streaming", version: "1" } },
      }),
      "tools/call": () => ({ resultType: "complete", content: [{ type: "text", text: "the answer" }] }),
    },
    (response, answer) => {
      const data = `data: ${JSON.stringify(answer)}\n\n`;
      response.writeHead(200, { "content-type": "text/event-stream" });
      const first = earlier.pop();
      if (first === undefined) {
        earlier.push(response);
        return void response.write(data);
      }
      first.end(() => response.end(data));
    },
  );
  expect(await called(server)).toBe("the answer");
});
