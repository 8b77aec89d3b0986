/** One trace of a run, through an edge, its workers and the servers that they call: docs/protocol.md 5.22. */
import { createServer } from "node:http";
import type { IncomingHttpHeaders, Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { startCollector } from "../services/otlp/collector.ts";
import type { Collector } from "../services/otlp/collector.ts";
import type { ReceivedSpan } from "../services/otlp/received-span.ts";
import { until } from "../services/waiting.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

const CLIENT = { traceId: "4bf92f3577b34da6a3ce929d0e0e4736", spanId: "00f067aa0ba902b7" };
const TRACEPARENT = `00-${CLIENT.traceId}-${CLIENT.spanId}-01`;

let collector: Collector;
let api: FlowApi;
let server: Server;
let base = "";
const received: { path: string; headers: IncomingHttpHeaders }[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    received.push({ path: request.url ?? "", headers: request.headers });
    request.resume();
    // This tool never answers: the test kills the worker that waits for it.
    if (request.url === "/mute") return;
    response.writeHead(200, { "content-type": "application/json" }).end('{"found":"canary-of-the-answer"}');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  base = `http://127.0.0.1:${address.port}`;
  collector = await startCollector();
  api = await startApi(undefined, { OTLP_HTTP_ENDPOINT: collector.httpUrl });
  await startWorker("a");
  const tool = {
    tool_type: "http",
    description: "looks up",
    inputSchema: { type: "object", properties: {} },
  };
  await api.define("tools", "lookup", { ...tool, url: `${base}/lookup` });
  await api.define("tools", "mute", { ...tool, url: `${base}/mute` });
});
afterAll(async () => {
  await api.stop();
  collector.stop();
  server.closeAllConnections();
  server.close();
});

const startWorker = (id: string, env: Record<string, string> = {}) =>
  api.startWorker(id, { EGRESS_ALLOW: "127.0.0.1", OTLP_ENDPOINT: collector.grpcUrl, ...env });

/** Starts a run of these steps with the client's context. @returns its id, and the context of the response */
async function start(id: string, steps: JsonObject[], body: JsonObject = {}) {
  await api.define("orchestrations", id, { name: id, entry_step_id: "a", steps });
  const path = `/api/v2/orchestrations/${id}/run`;
  const answer = await api.call("POST", path, { body, headers: { traceparent: TRACEPARENT } });
  expect(answer.status).toBe(202);
  const { run_id } = await bodyOf(answer);
  return { run: String(run_id), traceparent: answer.headers.get("traceparent") ?? "" };
}

const ofRun = (run: string) => (span: ReceivedSpan) => span.attributes["synapse.run.id"] === run;
const executionsOf = (run: string): ReceivedSpan[] =>
  collector.spans
    .filter((span) => ofRun(run)(span) && span.name.startsWith("process "))
    .toSorted(
      (a, b) => Number(a.attributes["synapse.run.attempt"]) - Number(b.attributes["synapse.run.attempt"]),
    );

async function untilExecutions(run: string, count: number): Promise<ReceivedSpan[]> {
  await until(`the collector has ${count} executions of ${run}`, () => executionsOf(run).length >= count);
  return executionsOf(run);
}

// Fails when a part begins a trace of its own, when a span's parent was never made, or when an outbound request has no context.
test("one POST is one connected trace: request, queue, statements, steps, model, tool, child and webhook", async () => {
  await api.define("orchestrations", "orch_child", {
    name: "child",
    entry_step_id: "c",
    steps: [{ id: "c", name: "C", type: "print", print_content: "x" }],
  });
  const { run, traceparent } = await start(
    "orch_traced",
    [
      { id: "a", name: "A", type: "tool", forced_tool: "lookup", output_key: "x", next_step_id: "b" },
      {
        id: "b",
        name: "B",
        type: "llm",
        model: "demo/fast",
        prompt_template: "canary-of-the-prompt",
        next_step_id: "c",
      },
      { id: "c", name: "C", type: "orchestration", orchestration_id: "orch_child" },
    ],
    { message: "canary-of-the-message", webhook_url: `${base}/hook` },
  );
  expect(traceparent).toMatch(new RegExp(`^00-${CLIENT.traceId}-[0-9a-f]{16}-01$`));
  expect(await untilEnd(api, run)).toBe("completed");
  const mine = (span: ReceivedSpan): boolean => span.traceId === CLIENT.traceId;
  const has = (name: string) => collector.span(name, (span) => mine(span) && span.name === name);
  const names = [
    "POST /api/v2/orchestrations/:id/run",
    "send default",
    "redis admit",
    "redis enqueue",
    "process orch_traced",
    "process orch_child",
    "postgres claim",
    "postgres flush",
    "redis XADD",
    "step a",
    "execute_tool lookup",
    "step b",
    "chat fast",
    "step c",
    "POST",
  ];
  for (const name of names) await has(name);

  const chain = async (name: string): Promise<string[]> => {
    const span = await has(name);
    if (span.parentSpanId === CLIENT.spanId) return [name];
    const parent = await collector.span(
      `the parent of ${name}`,
      ({ spanId }) => spanId === span.parentSpanId,
    );
    return [...(await chain(parent.name)), name];
  };
  const submitted = ["POST /api/v2/orchestrations/:id/run", "send default"];
  expect(await chain("redis admit")).toEqual([...submitted, "redis admit"]);
  expect(await chain("POST")).toEqual([...submitted, "POST"]);
  expect(await chain("postgres claim")).toEqual([...submitted, "postgres claim"]);
  expect(await chain("execute_tool lookup")).toEqual([
    ...submitted,
    "process orch_traced",
    "step a",
    "execute_tool lookup",
  ]);
  expect(await chain("process orch_child")).toEqual([
    ...submitted,
    "process orch_traced",
    "step c",
    "process orch_child",
  ]);
  expect((await has("chat fast")).attributes).toMatchObject({
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "demo",
    "gen_ai.request.model": "fast",
    "gen_ai.usage.output_tokens": expect.any(Number),
  });
  // The model's text: each of its flushes is counted, and only those with results are spans.
  expect((await has("process orch_traced")).attributes["synapse.run.event_flushes"]).toEqual(
    expect.any(Number),
  );
  // The tool and the receiver of the webhook get the context of the very request.
  const contextAt = (path: string) => received.find((each) => each.path === path)?.headers["traceparent"];
  await until("the webhook has arrived", () => contextAt("/hook") !== undefined);
  expect(contextAt("/lookup")).toBe(`00-${CLIENT.traceId}-${(await has("execute_tool lookup")).spanId}-01`);
  expect(contextAt("/hook")).toBe(`00-${CLIENT.traceId}-${(await has("POST")).spanId}-01`);
  // No span has a prompt, an answer or an argument.
  expect(collector.bodies.join("\n")).not.toMatch(/canary/);
});

test("a malformed traceparent is ignored: the request begins a trace", async () => {
  for (const bad of [
    `00-${"0".repeat(32)}-${CLIENT.spanId}-01`,
    `ff${TRACEPARENT.slice(2)}`,
    `${TRACEPARENT}-more`,
    "x",
  ]) {
    const answer = await api.call("GET", "/api/v2/tools", { headers: { traceparent: bad } });
    expect(answer.status).toBe(200);
    const own = answer.headers.get("traceparent");
    expect(own).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
    expect(own).not.toContain(CLIENT.traceId);
  }
});

// Fails when an execution has no link, or belongs to another trace than the one before.
test("a park and its resume are two spans of one trace, and the second is linked to the first", async () => {
  const human = { id: "a", name: "A", type: "human", human_prompt: "Go on?", output_key: "x" };
  const { run } = await start("orch_parks", [human]);
  await api.until(run, ["paused"]);
  await until("the answer is taken", async () => {
    const answer = await api.call("POST", runPath(run, "resume"), { body: { response: "yes" } });
    return answer.status === 202;
  });
  expect(await untilEnd(api, run)).toBe("completed");
  const [first, second] = await untilExecutions(run, 2);
  expect(first?.links).toEqual([]);
  expect(second?.traceId).toBe(CLIENT.traceId);
  expect(second?.links).toEqual([{ traceId: CLIENT.traceId, spanId: first?.spanId }]);
});

test("a client's retry is a new span of the same trace, linked to the execution that failed", async () => {
  const code = {
    id: "a",
    name: "A",
    type: "transform",
    transform_code: "throw new Error('no')",
    retry: { attempts: 1 },
  };
  const { run } = await start("orch_fails", [code]);
  expect(await untilEnd(api, run)).toBe("failed");
  expect((await api.call("POST", runPath(run, "retry"), { body: {} })).status).toBe(202);
  const [first, second] = await untilExecutions(run, 2);
  expect(first).toMatchObject({ status: 2, attributes: { "synapse.run.status": "failed" } });
  expect(second?.links).toEqual([{ traceId: CLIENT.traceId, spanId: first?.spanId }]);
});

// The killed worker has sent no span of its execution; the link names that span nevertheless.
test("a takeover is linked to the execution of the worker that died", async () => {
  const first = await startWorker("dies");
  await api.workers.find(({ id }) => id === "a")?.stop("SIGTERM");
  const { run } = await start("orch_killed", [{ id: "a", name: "A", type: "tool", forced_tool: "mute" }]);
  await until("the tool is called", () => received.some(({ path }) => path === "/mute"));
  await first.stop("SIGKILL");
  await startWorker("b");
  await api.call("POST", runPath(run, "cancel"));
  await untilEnd(api, run);
  const [second] = await untilExecutions(run, 1);
  expect(second?.attributes["synapse.run.attempt"]).toBe(2);
  expect(second?.traceId).toBe(CLIENT.traceId);
  expect(second?.links).toEqual([
    { traceId: CLIENT.traceId, spanId: expect.stringMatching(/^[0-9a-f]{16}$/) },
  ]);
  expect(second?.links[0]?.spanId).not.toBe(second?.spanId);
});

// Fails when OTLP_CONTENT=on adds no content, or adds it to other spans than those of calls.
test("with OTLP_CONTENT=on the spans of calls, and no others, have the requests and the answers", async () => {
  await Promise.all(api.workers.map((worker) => worker.stop("SIGTERM")));
  await startWorker("content", { OTLP_CONTENT: "on" });
  const { run } = await start(
    "orch_content",
    [
      { id: "a", name: "A", type: "tool", forced_tool: "lookup", output_key: "x", next_step_id: "b" },
      { id: "b", name: "B", type: "llm", model: "demo/fast", prompt_template: "canary-of-the-prompt" },
    ],
    { message: "canary-of-the-message" },
  );
  expect(await untilEnd(api, run)).toBe("completed");
  const [execution] = await untilExecutions(run, 1);
  const call = (name: string) =>
    collector.span(name, (span) => span.name === name && JSON.stringify(span.attributes).includes("canary"));
  expect((await call("execute_tool lookup")).attributes).toMatchObject({
    "gen_ai.tool.call.arguments": "{}",
    "gen_ai.tool.call.result": '{"found":"canary-of-the-answer"}',
  });
  const chat = (await call("chat fast")).attributes;
  const Messages = z.array(
    z.object({ role: z.string(), parts: z.array(z.looseObject({ type: z.string() })) }),
  );
  const messagesOf = (name: string) => Messages.parse(JSON.parse(String(chat[name])));
  expect(messagesOf("gen_ai.input.messages").at(-1)?.parts).toContainEqual({
    type: "text",
    content: expect.stringContaining("canary-of-the-prompt"),
  });
  expect(messagesOf("gen_ai.output.messages")).toMatchObject([
    { role: "assistant", parts: [{ type: "text" }] },
  ]);
  const others = collector.spans.filter(({ name }) => !/^(execute_tool|chat) /.test(name));
  expect(others).toContainEqual(execution);
  expect(JSON.stringify(others)).not.toMatch(/canary/);
});
