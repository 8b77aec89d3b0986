import { createServer } from "node:http";
import type { IncomingMessage, Server } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { BEAT_PERIOD_MS } from "../services/timing/long.ts";
import { pace, until } from "../services/waiting.ts";
import { runPath, bodyOf } from "../edge/app.ts";
import { count, startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

/** A model provider and a tool that begin to respond and never finish. They record which callers have closed the connection. */
class EndlessServer {
  readonly closed = new Set<string>();
  readonly open = new Set<string>();
  readonly #server: Server;

  constructor() {
    this.#server = createServer((request, response) => {
      void bodyText(request).then((body) => {
        const key = /case-\d+/.exec(`${request.url} ${body}`)?.[0] ?? "unknown";
        this.open.add(key);
        response.on("close", () => {
          this.open.delete(key);
          this.closed.add(key);
        });
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(`data: ${JSON.stringify(CHUNK)}\n\n`);
      });
    });
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${portOf(this.#server)}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

const CHUNK = {
  id: "c",
  object: "chat.completion.chunk",
  created: 1,
  model: "endless",
  choices: [{ index: 0, delta: { role: "assistant", content: "And" }, finish_reason: null }],
};

async function bodyText(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const part of request) text += String(part);
  return text;
}

let api: FlowApi;
let endless: EndlessServer;
let base: string;
beforeEach(async () => {
  endless = new EndlessServer();
  base = await endless.listen();
  api = await startApi();
});
afterEach(async () => {
  await api.stop();
  endless.close();
});

const cancel = async (run: string) => api.call("POST", runPath(run, "cancel"));

// Fails when the hint is not published, no beat follows it, or a step does not pass its signal on. These workers beat once a
// minute, so a call that is aborted within half a minute was aborted by the hint: without hints half of the 50 would take longer.
test("a cancel aborts the model or tool call in flight at once, and the run ends as cancelled", async () => {
  const step = (id: string, fields: object) => ({ id, name: id, ...fields, output_key: "out" });
  await api.define("orchestrations", "asks_model", {
    name: "Asks a model",
    entry_step_id: "ask",
    steps: [
      step("ask", { type: "llm", model: "openai-compatible/endless", prompt_template: "{state.user_input}" }),
    ],
  });
  await api.define("tools", "endless_tool", {
    name: "endless_tool",
    tool_type: "http",
    method: "GET",
    url: `${base}/tool`,
    inputSchema: { type: "object", properties: { case: { type: "string" } } },
  });
  await api.define("orchestrations", "calls_tool", {
    name: "Calls a tool",
    entry_step_id: "call",
    steps: [step("call", { type: "tool", forced_tool: "endless_tool" })],
  });
  const env = { WORKER_CONCURRENCY: "30", OPENAI_COMPATIBLE_BASE_URL: base, EGRESS_ALLOW: "127.0.0.1" };
  await Promise.all([api.startWorker("a", env, "long"), api.startWorker("b", env, "long")]);
  const cases = Array.from({ length: 50 }, (_, i) => `case-${i}`);
  const runs = await Promise.all(
    cases.map((message, i) => api.start(i % 2 === 0 ? "asks_model" : "calls_tool", { message })),
  );
  await until("all calls are in flight", () => endless.open.size === cases.length);

  for (const [i, run] of runs.entries()) {
    expect(await bodyOf(await cancel(run))).toEqual({ status: "cancellation_requested", run_id: run });
    const key = cases[i] ?? "";
    await until(`${key} is aborted`, () => endless.closed.has(key), BEAT_PERIOD_MS / 2);
  }
  for (const run of runs) {
    expect(await untilEnd(api, run)).toBe("cancelled");
    expect(await count(api, run, "done")).toBe(1);
  }
  await expect
    .poll(async () => api.stores.queue.stats(0), { timeout: 120_000 })
    .toMatchObject({ leased: 0, ready: 0 });
});

// Fails when the statement of a cancel, or of a worker's end, does not check what it has read of the run.
test("a run that is cancelled at any moment has exactly one end", async () => {
  await api.define("orchestrations", "short", {
    name: "Short",
    entry_step_id: "s0",
    steps: Array.from({ length: 8 }, (_, i) => ({
      id: `s${i}`,
      name: `s${i}`,
      type: "print",
      print_content: "x",
      output_key: `k${i}`,
      ...(i < 7 && { next_step_id: `s${i + 1}` }),
    })),
  });
  await Promise.all([api.startWorker("a"), api.startWorker("b")]);
  const ends = await Promise.all(
    Array.from({ length: 120 }, async (_, i) => {
      await pace(i * 5);
      const run = await api.start("short");
      await pace((i * 37) % 120);
      const answer = await cancel(run);
      const outcome = answer.status === 200 ? String((await bodyOf(answer)).status) : String(answer.status);
      const status = await untilEnd(api, run);
      return { run, outcome, status };
    }),
  );
  for (const { run, outcome, status } of ends) {
    expect([
      "cancelled → cancelled",
      "cancellation_requested → cancelled",
      "cancellation_requested → completed",
      "409 → completed",
    ]).toContain(`${outcome} → ${status}`);
    expect([run, await count(api, run, "done"), await count(api, run, "orchestration_complete")]).toEqual([
      run,
      1,
      1,
    ]);
  }
  // After the drains no worker is left that could change an end.
  for (const worker of api.workers) expect(await worker.stop("SIGTERM")).toBe(0);
  for (const { run, status } of ends) expect(await untilEnd(api, run)).toBe(status);
});
