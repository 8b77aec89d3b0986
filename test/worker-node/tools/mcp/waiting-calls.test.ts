import { describe, expect, test } from "vitest";
import { RunId, TenantId } from "../../../../shared/contracts/ids.ts";
import type { JsonObject } from "../../../../shared/contracts/json.ts";
import type { McpTaskRow } from "../../../../shared/store/definitions/mcp-tasks.ts";
import type { McpAnswer, McpOutcome, McpPending } from "../../../../worker-node/engine/mcp-pending.ts";
import { parseMcpServer } from "../../../../shared/contracts/definition/index.ts";
import { answerOf } from "../../../../worker-node/engine/elicitation.ts";
import { questionsOf } from "../../../../worker-node/tools/mcp/questions.ts";
import { createEgress } from "../../../../worker-node/outbound/egress-guard.ts";
import { McpTools } from "../../../../worker-node/tools/mcp/mcp-tools.ts";
import { pollAfterMs } from "../../../../worker-node/tools/mcp/tasks.ts";
import { refusingStore } from "../../fakes.ts";
import { newServer, rawServer } from "./servers.ts";
import { newTaskServer, oldTaskServer } from "./task-servers.ts";
import { closeAfterTest, started } from "./close-after-test.ts";

/** A worker's MCP tools. `rows`: the tasks that are registered at present. */
function worker(url: string, fields: JsonObject = {}) {
  const rows: McpTaskRow[] = [];
  const tools = new McpTools({
    egress: createEgress("127.0.0.1"),
    timeoutMs: 120_000,
    masterKey: null,
    store: {
      ...refusingStore,
      saveMcpTask: async (row) => {
        rows.push(row);
        return null;
      },
      forgetMcpTask: async (_, task) => {
        rows.splice(0, rows.length, ...rows.filter(({ task_id }) => task_id !== task));
        return null;
      },
    },
  });
  closeAfterTest(tools);
  const server = { name: "srv", server_type: "remote", url, owner: "acme", version: 1, ...fields };
  const call = (
    name: string,
    pending: McpPending | null = null,
    answers: Record<string, McpAnswer> = {},
  ): Promise<McpOutcome> => {
    const tool = { tool_type: "mcp", name: `srv__${name}`, tool: name, description: "", server };
    return tools.call({
      runId: RunId.parse("run_2483e1773407_1780499750067"),
      tenantId: TenantId.parse("acme"),
      tool: { ...tool, inputSchema: { type: "object" }, takes_tasks: true },
      args: {},
      effectKey: "key",
      signal: new AbortController().signal,
      pending,
      answers,
    });
  };
  /** What a call waits for. */
  const waiting = async (...args: Parameters<typeof call>): Promise<McpPending> => {
    const outcome = await call(...args);
    if (outcome.is === "result") throw new Error("the call does not wait");
    return outcome.pending;
  };
  return { tools, rows, call, waiting, server };
}

describe("a call in which a server of protocol 2026-07-28 asks a person", () => {
  test("has the question, and is repeated with its answer, its key and the state of the server", async () => {
    const server = await started(newServer());
    const { call, waiting } = worker(server.url);
    const pending = await waiting("ask");
    expect(pending).toMatchObject({
      key: "key",
      round: 1,
      state: "round-1",
      questions: [{ name: "sure", message: "Sure?", schema: { properties: { yes: { type: "boolean" } } } }],
      task: null,
    });
    const confirmed = { action: "accept" as const, content: { yes: true } };
    expect(await call("ask", pending, { sure: confirmed })).toEqual({
      is: "result",
      value: [{ sure: confirmed }, "round-1"],
    });
    const key = "synapse-edge/idempotency-key";
    expect(server.seen).toMatchObject([{ [key]: "key" }, { [key]: "key" }]);
  });

  test("again and again stops after ten rounds, and the model gets the reason", async () => {
    const server = await started(newServer());
    const { call, waiting } = worker(server.url);
    const pending = await waiting("ask");
    await expect(call("ask", { ...pending, round: 10, questions: [] })).rejects.toMatchObject({
      name: "ToolRejection",
      code: "mcp_input_required",
    });
  });
});

test("a call in which a server wants a person to visit a page has the address as a question, and is repeated when it is accepted", async () => {
  const server = await started(newServer());
  const { call, waiting } = worker(server.url);
  const pending = await waiting("visit");
  const [question] = pending.questions;
  expect(question).toEqual({ name: "page", message: "Sign in\nhttps://example.com/", schema: {} });
  const answer = answerOf(question?.schema ?? {}, { mcp_action: "accept" });
  expect(answer).toEqual({ action: "accept" });
  expect(await call("visit", pending, { page: answer })).toEqual({ is: "result", value: "signed in" });
});

test.each(["javascript:alert(1)", "file:///etc/passwd", "page"])(
  "a page at the address %s is not shown to a person",
  (url) => {
    const page = { method: "elicitation/create", params: { mode: "url", message: "Sign in", url } };
    const server = parseMcpServer({ name: "srv", server_type: "remote", url: "https://example.com/mcp" });
    if (!server.ok) throw new Error("the definition is wrong");
    expect(() => questionsOf({ page }, server.definition)).toThrow("a page to visit");
  },
);

// Fails when the error says that this client cannot ask a person anything.
test("a call for which a server needs more of its client than questions is refused with the name of it", async () => {
  const server = await started(newServer());
  await expect(worker(server.url).call("think")).rejects.toMatchObject({
    name: "ToolRejection",
    code: "mcp_input_required",
    message: "the MCP server srv asks for what no run can give: sampling",
  });
});

describe("a call of which a server makes a task", () => {
  test("of protocol 2026-07-28 is polled by its id, and has the result of the task", async () => {
    const server = await started(newTaskServer());
    const { call, waiting, rows } = worker(server.url);
    const pending = await waiting("report");
    expect(pending.task).toMatchObject({ id: "task-1", protocol: "2026-07-28", poll_ms: 500 });
    expect(rows).toMatchObject([{ task_id: "task-1", owner: "acme", server_id: "srv" }]);
    expect(await call("report", pending)).toMatchObject({ is: "waits", isNew: false, afterMs: 500 });
    Object.assign(server.state, {
      status: "completed",
      result: { content: [{ type: "text", text: "done" }] },
    });
    expect(await call("report", pending)).toEqual({ is: "result", value: "done" });
    expect(rows).toEqual([]);
    expect(server.methods()).toEqual(["server/discover", "tools/call", "tasks/get", "tasks/get"]);
    // Each request says that this client knows tasks.
    const extensions = { "io.modelcontextprotocol/tasks": {} };
    for (const { params } of server.calls.slice(1)) {
      expect(params["_meta"]).toMatchObject({
        "io.modelcontextprotocol/clientCapabilities": { extensions },
      });
    }
  });

  test("and which asks a person gets the answer once", async () => {
    const server = await started(newTaskServer());
    const { waiting } = worker(server.url);
    const pending = await waiting("report");
    const requestedSchema = { type: "object", properties: { yes: { type: "boolean" } } };
    const elicitation = { method: "elicitation/create", params: { message: "Sure?", requestedSchema } };
    Object.assign(server.state, { status: "input_required", inputRequests: { sure: elicitation } });
    const asking = await waiting("report", pending);
    expect(asking).toMatchObject({ round: 2, questions: [{ name: "sure", message: "Sure?" }] });
    const answered = await waiting("report", asking, { sure: { action: "decline" } });
    expect(answered).toMatchObject({ questions: [], task: { answered: ["sure"] } });
    expect(server.calls.find(({ method }) => method === "tasks/update")?.params).toMatchObject({
      taskId: "task-1",
      inputResponses: { sure: { action: "decline" } },
    });
    // The server has not read the answer yet.
    expect(await waiting("report", answered)).toMatchObject({ questions: [] });
    expect(server.methods().filter((method) => method === "tasks/update")).toHaveLength(1);
  });

  test.each([
    [{ status: "failed", error: { code: -1, message: "no paper" } }, "tool_rejected", "failed: no paper"],
    [{ status: "cancelled" }, "tool_rejected", "was cancelled by the server"],
  ])("that ends as %j is reported to the model", async (state, code, message) => {
    const server = await started(newTaskServer());
    const { call, waiting, rows } = worker(server.url);
    const pending = await waiting("report");
    Object.assign(server.state, state);
    await expect(call("report", pending)).rejects.toMatchObject({
      name: "ToolRejection",
      code,
      message: expect.stringContaining(message),
    });
    expect(rows).toEqual([]);
  });

  test("that takes longer than the server's definition allows is cancelled", async () => {
    const server = await started(newTaskServer());
    const { call, waiting, rows } = worker(server.url, { wait_timeout_seconds: 60 });
    const pending = await waiting("report");
    if (pending.task === null) throw new Error("no task");
    const task = { ...pending.task, began_at_ms: Date.now() - 61_000 };
    await expect(call("report", { ...pending, task })).rejects.toMatchObject({ code: "mcp_task_timeout" });
    expect(server.methods().at(-1)).toBe("tasks/cancel");
    expect(rows).toEqual([]);
  });

  test("of protocol 2025-11-25 is polled, and its result is fetched once", async () => {
    const server = await started(oldTaskServer());
    const { call, waiting, tools, server: stored } = worker(server.url);
    const pending = await waiting("report");
    expect(pending.task).toMatchObject({ id: server.created[0], protocol: "2025-11-25", poll_ms: 500 });
    expect(await call("report", pending)).toMatchObject({ is: "waits", isNew: false });
    await server.finish();
    expect(await call("report", pending)).toEqual({ is: "result", value: "the report" });
    expect(server.created).toHaveLength(1);
    const secondCall = await waiting("report");
    if (secondCall.task === null) throw new Error("no task");
    // A poll leaves the session open, another worker's too.
    expect(await worker(server.url).call("report", secondCall)).toMatchObject({ is: "waits" });
    await tools.cancelTask(stored, secondCall.task, new AbortController().signal);
    await expect(call("report", secondCall)).rejects.toMatchObject({
      name: "ToolRejection",
    });
  });
});

test("an older server that cannot make tasks is called without one", async () => {
  const server = await started(
    rawServer({ "tools/call": ({ task }) => ({ content: [{ type: "text", text: String(task) }] }) }),
  );
  expect(await worker(server.url).call("report")).toEqual({ is: "result", value: "undefined" });
});

test("a task is polled as often as its server wants, within our own bounds, and less often as it grows old", () => {
  const task = { id: "t", protocol: "2026-07-28" as const, session: null, began_at_ms: 0, answered: [] };
  expect(pollAfterMs({ ...task, poll_ms: null }, 0)).toBe(1_000);
  expect(pollAfterMs({ ...task, poll_ms: 1 }, 0)).toBe(500);
  expect(pollAfterMs({ ...task, poll_ms: 5_000 }, 10_000)).toBe(5_000);
  expect(pollAfterMs({ ...task, poll_ms: 5_000 }, 200_000)).toBe(20_000);
  expect(pollAfterMs({ ...task, poll_ms: 3_600_000 }, 0)).toBe(60_000);
});
