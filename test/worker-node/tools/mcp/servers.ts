/** MCP servers of the official packages, on this machine: the newest protocol, the older one with sessions, and the oldest transport. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { McpServer as OldServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { SSEServerTransport } from "@modelcontextprotocol/sdk/server/sse.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { McpServer, createMcpHandler, inputRequired } from "@modelcontextprotocol/server";
import { z } from "zod";

/** A server with an address. `received`: method and path of each request. `connections`: how many it has taken. `close` cuts them. */
export type TestServer = {
  url: string;
  connections(): number;
  received: { method: string; url: string; headers: IncomingMessage["headers"] }[];
  close(): Promise<void>;
};

/** The connections of all servers that have brought a request, each with the number of them. */
const requestsOf = new WeakMap<Socket, number>();

/** Whether the connection of this response has brought an earlier request too. */
export function isOnKeptConnection(response: ServerResponse): boolean {
  return (requestsOf.get(response.req.socket) ?? 0) > 1;
}

export async function listen(respond: RequestListener): Promise<TestServer> {
  const received: TestServer["received"] = [];
  const server = createServer((request, response) => {
    requestsOf.set(request.socket, (requestsOf.get(request.socket) ?? 0) + 1);
    received.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    respond(request, response);
  });
  let connections = 0;
  server.on("connection", () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}/mcp`,
    received,
    connections: () => connections,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const addends = { a: z.number(), b: z.number() };
const text = (value: string) => ({ content: [{ type: "text" as const, text: value }] });

/**
 * A server of protocol 2026-07-28, without sessions. `seen`: the metadata of each call. `change`: what each request finds registered beside
 * the server's tools from now on, of which clients get a notice.
 */
export async function newServer(): Promise<
  TestServer & { seen: unknown[]; change(register: (server: McpServer) => void): void }
> {
  const seen: unknown[] = [];
  let registerMore: (server: McpServer) => void = () => {};
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: "new", version: "1" });
    registerMore(server);
    server.registerTool(
      "add",
      {
        description: "Adds two numbers",
        inputSchema: z.object(addends),
        outputSchema: z.object({ sum: z.number() }),
      },
      async ({ a, b }, context) => {
        seen.push(context.mcpReq._meta);
        return { content: [{ type: "text", text: "the sum" }], structuredContent: { sum: a + b } };
      },
    );
    server.registerTool("fail", { inputSchema: z.object({}) }, async () => ({
      ...text("no such row"),
      isError: true,
    }));
    server.registerTool("a.dotted.name", { inputSchema: z.object({}) }, async () => text("plain text"));
    server.registerTool("visit", { inputSchema: z.object({}) }, async (_, context) => {
      if (context.mcpReq.inputResponses !== undefined) return text("signed in");
      const page = inputRequired.elicitUrl({ message: "Sign in", url: "https://example.com/" });
      return inputRequired({ inputRequests: { page } });
    });
    server.registerTool("think", { inputSchema: z.object({}) }, async () => {
      const content = { type: "text" as const, text: "Think." };
      const sample = inputRequired.createMessage({ messages: [{ role: "user", content }], maxTokens: 9 });
      return inputRequired({ inputRequests: { sample } });
    });
    server.registerTool("ask", { inputSchema: z.object({}) }, async (_, context) => {
      seen.push(context.mcpReq._meta);
      const { inputResponses, requestState } = context.mcpReq;
      if (inputResponses !== undefined) return text(JSON.stringify([inputResponses, requestState()]));
      const requestedSchema = z.object({ yes: z.boolean() });
      const confirmation = inputRequired.elicit({ message: "Sure?", requestedSchema });
      return inputRequired({ inputRequests: { sure: confirmation }, requestState: "round-1" });
    });
    return server;
  });
  const server = await listen((request, response) => void respond(request, response));
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await textOf(request);
    const headers = new Headers(
      Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
    );
    const method = request.method ?? "GET";
    const answer = await handler.fetch(
      new Request(server.url, { method, headers, ...(body !== "" && { body }) }),
    );
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.flushHeaders();
    for await (const chunk of answer.body ?? []) response.write(chunk);
    response.end();
  };
  const change = (register: (server: McpServer) => void): void => {
    registerMore = register;
    handler.notify.toolsChanged();
  };
  return { ...server, seen, change };
}

/** What becomes of the tool `hang`, which never answers. `begins`: the first call has begun. `reasons`: those of the cancelled calls. */
type Hanging = { begins: Promise<void>; reasons: unknown[] };

function hangingTool(): Hanging & { register(server: OldServer): void } {
  const { promise: begins, resolve } = Promise.withResolvers<void>();
  const reasons: unknown[] = [];
  const register = (server: OldServer): void => {
    server.registerTool("hang", {}, ({ signal }) => {
      resolve();
      signal.addEventListener("abort", () => reasons.push(signal.reason));
      return new Promise(() => {});
    });
  };
  return { begins, reasons, register };
}

/**
 * A server of protocol 2025-11-25 with sessions. `forgetAfter`: methods at which the session is lost, as by a restart. `begun`: the ids of all
 * sessions. `servers`: what serves each of them.
 */
export async function oldServer(): Promise<
  TestServer & {
    hanging: Hanging;
    sessions: Map<string, unknown>;
    forgetAfter: Set<string>;
    begun: string[];
    servers: OldServer[];
  }
> {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const forgetAfter = new Set<string>();
  const begun: string[] = [];
  const servers: OldServer[] = [];
  const hanging = hangingTool();
  const server = await listen((request, response) => void respond(request, response));
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const id = request.headers["mcp-session-id"];
    const body = await bodyOf(request);
    const known = typeof id === "string" ? sessions.get(id) : undefined;
    if (known !== undefined) {
      const method = z.looseObject({ method: z.string() }).safeParse(body).data?.method ?? "";
      if (forgetAfter.delete(method)) sessions.delete(String(id));
      else return known.handleRequest(request, response, body);
    }
    if (id !== undefined) {
      response
        .writeHead(404)
        .end(
          JSON.stringify({ jsonrpc: "2.0", error: { code: -32001, message: "Session not found" }, id: null }),
        );
      return;
    }
    const own = withTools();
    hanging.register(own);
    const transport = new StreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (session) => {
        sessions.set(session, transport);
        begun.push(session);
        servers.push(own);
      },
      onsessionclosed: (session) => void sessions.delete(session),
    });
    await own.connect(transport);
    await transport.handleRequest(request, response, body);
  };
  return { ...server, hanging, sessions, forgetAfter, begun, servers };
}

/**
 * A server that knows the oldest transport alone: a stream by GET, and messages by POST to another path. As Python's, it never answers
 * the question for protocol 2026-07-28.
 */
export async function sseServer(): Promise<TestServer> {
  const transports = new Map<string, SSEServerTransport>();
  return listen((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (request.method === "GET" && url.pathname === "/mcp") {
      const transport = new SSEServerTransport("/messages", response);
      transports.set(transport.sessionId, transport);
      void withTools().connect(transport);
      return;
    }
    const transport = transports.get(url.searchParams.get("sessionId") ?? "");
    if (url.pathname !== "/messages" || !transport) {
      response.writeHead(405).end();
      return;
    }
    void bodyOf(request).then((message) => {
      if (!JSON.stringify(message).includes('"server/discover"'))
        return transport.handlePostMessage(request, response, message);
      response.writeHead(202).end();
      return undefined;
    });
  });
}

function withTools(): OldServer {
  const server = new OldServer({ name: "old", version: "1" });
  server.registerTool("add", { description: "Adds", inputSchema: addends }, async ({ a, b }) =>
    text(`{"sum":${a + b}}`),
  );
  server.registerTool("ask", {}, async () => {
    const answer = await server.server.elicitInput({
      message: "Sure?",
      requestedSchema: { type: "object", properties: { yes: { type: "boolean" } } },
    });
    return text(answer.action);
  });
  return server;
}

export async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const body = await textOf(request);
  return body === "" ? undefined : JSON.parse(body);
}

async function textOf(request: IncomingMessage): Promise<string> {
  let body = "";
  for await (const chunk of request) body += String(chunk);
  return body;
}

type RawAnswers = { [method: string]: (params: Record<string, unknown>) => unknown };

/** A server of protocol 2025-11-25 without sessions that answers each method as the test says, in whatever bytes. */
export function rawServer(
  answers: RawAnswers,
  write: (response: ServerResponse, answer: object) => void = writeJson,
  statusOfNotifications = 202,
): Promise<TestServer> {
  const Rpc = z.looseObject({
    id: z.unknown().optional(),
    method: z.string(),
    params: z.record(z.string(), z.unknown()).default({}),
  });
  const initialize = () => ({
    protocolVersion: "2025-11-25",
    capabilities: { tools: {} },
    serverInfo: { name: "raw", version: "1" },
  });
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (request.method !== "POST") return void response.writeHead(405).end();
    const { id, method, params } = Rpc.parse(await bodyOf(request));
    if (id === undefined) return void response.writeHead(statusOfNotifications).end();
    const all: RawAnswers = { initialize, ...answers };
    const result = all[method]?.(params);
    const error = { code: -32_601, message: "Method not found" };
    write(response, { jsonrpc: "2.0", id, ...(result === undefined ? { error } : { result }) });
  };
  return listen((request, response) => void respond(request, response));
}

export function writeJson(response: ServerResponse, answer: object): void {
  response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
}
