/** MCP servers that make tasks of calls, by both protocols. */
import { randomUUID } from "node:crypto";
import type { ServerResponse } from "node:http";
import { InMemoryTaskStore } from "@modelcontextprotocol/sdk/experimental/tasks";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { z } from "zod";
import { bodyOf, listen, writeJson } from "./servers.ts";
import type { TestServer } from "./servers.ts";

/** A server of protocol 2025-11-25 by the official package. `finish`: ends all tasks with a result. */
export async function oldTaskServer(): Promise<TestServer & { created: string[]; finish(): Promise<void> }> {
  const store = new InMemoryTaskStore();
  const created: string[] = [];
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const server = await listen((request, response) => {
    void (async () => {
      const body = await bodyOf(request);
      const known = sessions.get(String(request.headers["mcp-session-id"]));
      if (known !== undefined) return known.handleRequest(request, response, body);
      const transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: () => randomUUID(),
        onsessioninitialized: (id) => void sessions.set(id, transport),
        onsessionclosed: (id) => void sessions.delete(id),
      });
      const tasks = { requests: { tools: { call: {} } }, cancel: {}, list: {} };
      const own = new McpServer(
        { name: "old-tasks", version: "1" },
        { capabilities: { tasks }, taskStore: store },
      );
      own.experimental.tasks.registerToolTask(
        "report",
        { description: "Takes long", inputSchema: {}, execution: { taskSupport: "required" } },
        {
          createTask: async (_, { taskStore }) => {
            const task = await taskStore.createTask({ pollInterval: 500 });
            created.push(task.taskId);
            return { task };
          },
          getTask: async (_, { taskId, taskStore }) => taskStore.getTask(taskId),
          getTaskResult: async (_, { taskId, taskStore }) => {
            const { content } = z
              .object({ content: z.array(z.object({ type: z.literal("text"), text: z.string() })) })
              .parse(await taskStore.getTaskResult(taskId));
            return { content };
          },
        },
      );
      await own.connect(transport);
      await transport.handleRequest(request, response, body);
    })();
  });
  const finish = async (): Promise<void> => {
    for (const id of created) {
      await store.storeTaskResult(id, "completed", { content: [{ type: "text", text: "the report" }] });
    }
  };
  return { ...server, created, finish };
}

const Rpc = z.looseObject({
  id: z.unknown().optional(),
  method: z.string(),
  params: z.record(z.string(), z.unknown()).default({}),
});

/**
 * A server of protocol 2026-07-28, written by hand: the official package does not make tasks yet. `calls`: method and parameters of each request.
 * `state`: what `tasks/get` adds to the task. `poll`: the poll interval that the server sends from now on.
 */
export async function newTaskServer(): Promise<
  TestServer & {
    calls: z.infer<typeof Rpc>[];
    state: Record<string, unknown>;
    methods(): string[];
    poll(ms: number): void;
  }
> {
  const calls: z.infer<typeof Rpc>[] = [];
  const now = { createdAt: "2026-08-01T00:00:00Z", lastUpdatedAt: "2026-08-01T00:00:00Z" };
  const task = { taskId: "task-1", status: "working", ttlMs: 60_000, pollIntervalMs: 500, ...now };
  const state: Record<string, unknown> = {};
  const answer = (method: string): object | null => {
    switch (method) {
      case "server/discover":
        return {
          supportedVersions: ["2026-07-28"],
          capabilities: { tools: {}, extensions: { "io.modelcontextprotocol/tasks": {} } },
          ttlMs: 0,
          cacheScope: "private",
        };
      case "tools/list": {
        const report = { name: "report", inputSchema: { type: "object" } };
        return { tools: [report], ttlMs: 0, cacheScope: "private" };
      }
      case "tools/call":
        return { resultType: "task", ...task };
      case "tasks/get":
        return { ...task, ...state };
      case "tasks/update":
      case "tasks/cancel":
        return {};
      default:
        return null;
    }
  };
  const respond = async (request: Parameters<typeof bodyOf>[0], response: ServerResponse): Promise<void> => {
    const rpc = Rpc.parse(await bodyOf(request));
    calls.push(rpc);
    const found = answer(rpc.method);
    const error = { code: -32_601, message: "Method not found" };
    const result = found === null ? { error } : { result: { resultType: "complete", ...found } };
    writeJson(response, { jsonrpc: "2.0", id: rpc.id, ...result });
  };
  const server = await listen((request, response) => void respond(request, response));
  const poll = (ms: number): void => void (task.pollIntervalMs = ms);
  return { ...server, calls, state, poll, methods: () => calls.map(({ method }) => method) };
}
