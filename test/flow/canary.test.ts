/** Plants the secrets of tools and runs as canaries, and searches for them wherever data is stored or sent. */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { runPath } from "../edge/app.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";
import { edgeLog, everyKey, everyRow, leaksOf } from "./canaries.ts";

const CANARIES = {
  header: "canary-header-2f1c9d77aa",
  custom: "canary-custom-81b2e9f0c4",
  query: "canary-query-77ab01c2de",
  path: "canary0path0token0a1b2c3d4",
  model: "canary-model-key-5d6e7f8091",
  webhook: "canary-webhook-90ab12cd34",
  tenantKey: "canary-tenant-key-c3d4e5f607",
};

let api: FlowApi;
let server: Server;
let base = "";
const received: { path: string; headers: IncomingMessage["headers"] }[] = [];
let edgeLines: string[] = [];

/** A server that quotes the request in every answer, as some servers do. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const path = request.url ?? "";
  received.push({ path, headers: request.headers });
  const status = Number(/^\/(\d{3})\//.exec(path)?.[1] ?? (path.startsWith("/v1") ? 401 : 200));
  request.resume();
  request.on("end", () => {
    response.writeHead(status, { "content-type": "application/json" });
    const error = { code: "invalid_api_key", message: `not accepted: ${request.headers.authorization}` };
    response.end(JSON.stringify({ error, url: path, headers: request.headers }));
  });
}

const toolOf = (status: number): JsonObject => ({
  tool_type: "http",
  description: "quotes its request",
  url: `${base}/${status}/${CANARIES.path}/{q}?key=${CANARIES.query}&page=1`,
  headers: { Authorization: `Bearer ${CANARIES.header}`, "X-Custom": CANARIES.custom, Accept: "text/plain" },
  inputSchema: { type: "object", properties: { q: { type: "string" } } },
});
const STATUSES = [200, 400, 401, 503];

beforeAll(async () => {
  edgeLines = edgeLog();
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  base = `http://127.0.0.1:${address.port}`;
  api = await startApi();
  await api.startWorker("a", {
    EGRESS_ALLOW: "127.0.0.1",
    OPENAI_API_KEY: CANARIES.model,
    OPENAI_BASE_URL: `${base}/v1`,
  });
});
afterAll(async () => {
  await api.stop();
  server.close();
  vi.restoreAllMocks();
});

// Fails when a tool's secrets are stored as they are sent, an answer shows one, an error or a result quotes one, or a
// dead letter holds the provider's own text.
test("a secret is in no answer, event, log line, key of Redis or column of Postgres, and reaches its server", async () => {
  const retry = { attempts: 1 };
  const answers: string[] = [];
  const read = async (method: string, path: string, body?: unknown): Promise<string> => {
    const text = await (await api.call(method, path, body === undefined ? {} : { body })).text();
    answers.push(text);
    return text;
  };
  const runs: string[] = [];
  const start = async (id: string, step: JsonObject): Promise<void> => {
    const steps = [{ id: "s", name: "S", retry, output_key: "out", ...step }];
    await api.define("orchestrations", id, { name: id, entry_step_id: "s", steps });
    runs.push(
      await api.start(id, {
        message: "m",
        webhook_url: `${base}/200/hook`,
        webhook_secret: CANARIES.webhook,
      }),
    );
  };
  for (const status of STATUSES) {
    await read("PUT", `/api/v2/tools/quotes_${status}`, toolOf(status));
    await read("PUT", `/api/v2/tools/quotes_${status}`, { ...toolOf(status), mistake: true });
    answers.push(await (await api.call("GET", `/api/v2/tools/quotes_${status}`)).text());
    await start(`orch_${status}`, { type: "tool", forced_tool: `quotes_${status}` });
  }
  await start("orch_model", { type: "llm", model: "openai/gpt-4.1", prompt_template: "go" });
  const ownKey = { api_key: CANARIES.tenantKey, base_url: `${base}/v1/own` };
  await read("PUT", "/api/v2/provider-keys/openai-compatible", ownKey);
  await read("PUT", "/api/v2/provider-keys/openai-compatible", { ...ownKey, mistake: true });
  await read("GET", "/api/v2/provider-keys");
  await start("orch_own", { type: "llm", model: "openai-compatible/m1", prompt_template: "go" });
  const ends = await Promise.all(runs.map((run) => untilEnd(api, run)));
  expect(ends).toEqual(["completed", "failed", "failed", "failed", "failed", "failed"]);
  await expect
    .poll(() => received.filter(({ path }) => path.startsWith("/200/hook")))
    .toHaveLength(runs.length);

  for (const run of runs) {
    for (const rest of ["status", "result", "events", "why", "stream"]) await read("GET", runPath(run, rest));
  }
  await read("GET", "/api/v2/tools");
  await read("GET", "/api/v2/workers");
  const letters = JSON.parse(await read("GET", "/scale/dlq"));
  expect(letters).toHaveLength(5);
  for (const { id } of letters) await read("GET", `/scale/dlq/${id}`);
  await read("GET", "/scale/webhooks");

  const got = received.find(({ path }) => path.startsWith("/200/canary"));
  expect(got).toMatchObject({
    path: `/200/${CANARIES.path}/m?key=${CANARIES.query}&page=1`,
    headers: { authorization: `Bearer ${CANARIES.header}`, "x-custom": CANARIES.custom },
  });
  expect(received.find(({ path }) => path.startsWith("/v1/own/"))?.headers.authorization).toBe(
    `Bearer ${CANARIES.tenantKey}`,
  );
  const places = {
    answers: answers.join("\n"),
    worker: JSON.stringify(api.workers.map(({ lines }) => lines)),
    edge: edgeLines.join("\n"),
    redis: await everyKey(api),
    postgres: await everyRow(api),
  };
  expect(leaksOf(places, { ...CANARIES, platformKey: api.platformKey })).toEqual([]);
  // Each place was read: it has a text that must be there.
  expect(places.postgres).toContain("quotes its request");
  expect(places.redis).toContain("synapse:orchestrations");
  expect(places.worker).toContain("run.execution_ended");
});
