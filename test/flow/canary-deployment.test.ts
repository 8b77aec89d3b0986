/** Plants the secrets of a deployment, its operators and its tenants as canaries, and searches for them wherever data is stored. */
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import net from "node:net";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { z } from "zod";
import { readConfig } from "../../edge/env.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { messageOf } from "../../shared/log.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { MASTER_KEY } from "../edge/test-stores.ts";
import { startCollector } from "../services/otlp/collector.ts";
import type { Collector } from "../services/otlp/collector.ts";
import { freshDatabase } from "../services/services.ts";
import { until } from "../services/waiting.ts";
import { builtWorker } from "../services/built-worker.ts";
import { spawnWorker } from "../services/worker-process.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";
import { edgeLog, everyKey, everyRow, leaksOf } from "./canaries.ts";

const CANARIES = {
  mcpHeader: "canary-mcp-header-1f2e3d4c5b",
  mcpToken: "canary-mcp-token-0a9b8c7d6e",
  oauth: "canary-oauth-secret-5a6b7c8d",
  sqlUser: "canary_sql_user_9f8e7d6c5b",
  sqlPassword: "canary-sql-password-4d3c2b1a",
  smtp: "canary-smtp-password-77aa88bb",
  tenantSmtp: "canary-tenant-smtp-password-4e5f",
  testSmtp: "canary-test-smtp-password-6a7b8c",
  openai: "canary-openai-key-11aa22bb33",
  anthropic: "canary-anthropic-key-44cc55",
  google: "canary-google-key-66ee77ff88",
  s3: "canary-s3-secret-key-99aabbccdd",
  redis: "canary-redis-password-12ab34cd",
  postgres: "canary-postgres-password-56ef",
  webhook: "canary-endpoint-secret-78ab90",
  rotated: "canary-rotated-secret-ab12cd34",
  trigger: "canary-trigger-secret-ef56ab78",
  stream: "canary-stream-token-secret-90cd",
  state: "canary-state-secret-abcdef-0123456789-ab",
  metrics: "canary-metrics-variable-123abc",
  setting: "canary-metrics-setting-456def",
  testRedis: "canary-test-redis-password-7a8b",
  testPostgres: "canary-test-postgres-password-9c",
  masterKey: MASTER_KEY,
};

let api: FlowApi;
let http: Server;
let smtp: net.Server;
let collector: Collector;
let base = "";
let database = new URL("postgres://unset");
let edgeLines: string[] = [];
let smtpHost = "";
let loginsAtSmtp = 0;
const answers: string[] = [];

/** An HTTP server that refuses each request, and quotes all of it in the refusal. */
function quote(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { headers, url } = request;
    const quoted = `${JSON.stringify(headers)} ${Buffer.concat(chunks).toString("utf8")}`;
    response.writeHead(401, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: { code: "invalid_api_key", message: quoted }, url }));
  });
}

/** An SMTP server that refuses each login, and quotes the password in the refusal. */
function refuseLogin(socket: net.Socket): void {
  socket.on("error", () => {});
  socket.write("220 ready\r\n");
  createInterface({ input: socket }).on("line", (line) => {
    const [, plain] = /^AUTH PLAIN (.*)$/.exec(line) ?? [];
    if (plain === undefined)
      return void socket.write(line.startsWith("EHLO") ? "250 AUTH PLAIN\r\n" : "250 ok\r\n");
    loginsAtSmtp += 1;
    socket.write(
      `535 not accepted: ${Buffer.from(plain, "base64").toString("utf8").replaceAll("\0", " ")}\r\n`,
    );
  });
}

const Port = z.object({ port: z.number() });
async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return Port.parse(server.address()).port;
}

/** The URL with this password. The stores of the tests check no password. */
function withPassword(url: string, password: string): string {
  const address = new URL(url);
  address.password = password;
  if (address.username === "") address.username = "default";
  return address.href;
}

beforeAll(async () => {
  edgeLines = edgeLog();
  [http, smtp] = [createServer(quote), net.createServer(refuseLogin)];
  const [httpPort, smtpPort] = [await listen(http), await listen(smtp)];
  smtpHost = `127.0.0.1:${smtpPort}`;
  base = `http://127.0.0.1:${httpPort}`;
  collector = await startCollector();
  const url = await freshDatabase();
  database = new URL(url);
  api = await startApi(Promise.resolve(url), {
    STREAM_TOKEN_SECRET: CANARIES.stream,
    STATE_SECRET: CANARIES.state,
    METRICS_TOKEN: CANARIES.metrics,
    OTLP_HTTP_ENDPOINT: collector.httpUrl,
  });
  await api.startWorker("a", {
    EGRESS_ALLOW: "127.0.0.1,localhost",
    REDIS_URL: withPassword(api.stores.service.url, CANARIES.redis),
    SCALE_POSTGRES_URL: withPassword(url, CANARIES.postgres),
    OTLP_ENDPOINT: collector.grpcUrl,
    METRICS_TOKEN: CANARIES.metrics,
    SMTP_URL: `smtp://mailer:${CANARIES.smtp}@127.0.0.1:${smtpPort}`,
    SMTP_FROM: "shop@example.com",
    OPENAI_API_KEY: CANARIES.openai,
    OPENAI_BASE_URL: `${base}/v1`,
    ANTHROPIC_API_KEY: CANARIES.anthropic,
    ANTHROPIC_BASE_URL: `${base}/anthropic`,
    GOOGLE_GENERATIVE_AI_API_KEY: CANARIES.google,
    GOOGLE_BASE_URL: `${base}/google`,
    S3_ENDPOINT: base,
    S3_BUCKET: "objects",
    S3_REGION: "auto",
    S3_ACCESS_KEY_ID: "an-id",
    S3_SECRET_ACCESS_KEY: CANARIES.s3,
  });
});
afterAll(async () => {
  await api.stop();
  collector.stop();
  for (const server of [http, smtp]) server.close();
  http.closeAllConnections();
  vi.restoreAllMocks();
});

/** Sends a request, and adds its answer to `answers`, which are searched. */
async function send(method: string, path: string, body?: unknown, key?: string): Promise<string> {
  const answer = await api.call(method, path, {
    ...(body !== undefined && { body }),
    ...(key !== undefined && { key }),
  });
  const text = await answer.text();
  answers.push(text);
  return text;
}

/** Creates something whose secret only this answer may show: it is not added to `answers`. */
async function made(path: string, body: JsonObject, field: string): Promise<{ id: string; secret: string }> {
  const answer = await bodyOf(await api.call("POST", path, { body }));
  return { id: String(answer["id"]), secret: z.string().min(20).parse(answer[field]) };
}

/** Registers every secret of a tenant and of an operator, and sends each one in an invalid request too. */
async function register(): Promise<void> {
  const mcp = { url: `${base}/mcp`, headers: { "X-Extra": CANARIES.mcpHeader } };
  await send("PUT", "/api/v2/mcp-servers/quotes", { ...mcp, token: CANARIES.mcpToken });
  await send("PUT", "/api/v2/mcp-servers/quotes", { ...mcp, token: [CANARIES.mcpToken] });
  const oauth = { issuer: base, client_id: "client", client_secret: CANARIES.oauth };
  await send("PUT", "/api/v2/mcp-servers/grants", { url: `${base}/mcp`, oauth });
  await send("PUT", "/api/v2/mcp-servers/grants", { url: `${base}/mcp`, oauth: { ...oauth, issuer: 1 } });
  const login = `${CANARIES.sqlUser}:${CANARIES.sqlPassword}`;
  const sql = { tool_type: "sql", description: "facts" };
  const connection = `postgres://${login}@${database.hostname || "127.0.0.1"}:${database.port || 5432}/nothing`;
  await send("PUT", "/api/v2/tools/facts", { ...sql, connection });
  await send("PUT", "/api/v2/tools/wrong", { ...sql, connection: `${connection}?sslmode=${login}` });
  await send("PUT", "/api/v2/tools/wrong", { ...sql, connection: `mysql://${login}@host/db` });

  const endpoint = { url: `${base}/hook`, events: ["run.failed"] };
  await send("PUT", "/api/v2/webhook-endpoints/mine?tenant_id=default", {
    ...endpoint,
    secret: CANARIES.webhook,
  });
  await send("PUT", "/api/v2/webhook-endpoints/bad?tenant_id=default", {
    ...endpoint,
    secret: `whsec_${CANARIES.webhook}`,
  });
  await send("POST", "/api/v2/webhook-endpoints/mine/rotate?tenant_id=default", { secret: CANARIES.rotated });
  await send("PUT", "/scale/config", { METRICS_TOKEN: CANARIES.setting });
  await send("PATCH", "/scale/config", { METRICS_TOKEN: [CANARIES.setting], SCALE_MODE: CANARIES.setting });

  await send("POST", "/scale/test-redis", { redis_url: `redis://u:${CANARIES.testRedis}@127.0.0.1:1` });
  await send("POST", "/scale/test-redis", { redis_url: `http://u:${CANARIES.testRedis}@127.0.0.1:1` });
  await send("POST", "/scale/test-postgres", {
    postgres_url: `postgres://u:${CANARIES.testPostgres}@127.0.0.1:1/x`,
  });
  await send("POST", "/scale/test-postgres", {
    postgres_url: `postgres://u:${CANARIES.testPostgres}@127.0.0.1:x/x`,
  });
  const mailServer = (password: string, host = smtpHost) => `smtp://mailer:${password}@${host}`;
  const smtp_from = "post@example.com";
  await send("PUT", "/scale/tenants/mailer/smtp", { smtp_url: mailServer(CANARIES.tenantSmtp), smtp_from });
  await send("PUT", "/scale/tenants/mailer/smtp", {
    smtp_url: mailServer(CANARIES.tenantSmtp, "10.1.2.3:25"),
    smtp_from,
  });
  await send("POST", "/scale/config/test-smtp", { smtp_url: mailServer(CANARIES.testSmtp) });
  await send("POST", "/scale/config/test-smtp", { smtp_url: mailServer(CANARIES.testSmtp, "10.1.2.3:25") });
  await send("POST", "/scale/config/test-smtp", { tenant_id: "mailer" });
  await send("POST", "/scale/config/test-smtp");
}

/**
 * A run for each secret that a worker sends. Each fails because its server refuses it, except the last one: it queues a mail, which the server
 * refuses later. @returns their ids
 */
async function use(): Promise<string[]> {
  const retry = { attempts: 1 };
  const runs: string[] = [];
  const start = async (id: string, step: JsonObject, state: JsonObject = {}): Promise<void> => {
    const steps = [{ id: "s", name: "S", retry, output_key: "out", ...step }];
    await api.define("orchestrations", id, { name: id, entry_step_id: "s", steps });
    runs.push(await api.start(id, { state }));
  };
  for (const model of ["openai/gpt-4.1", "anthropic/claude-sonnet-4-5", "google/gemini-2.5-flash"]) {
    await start(`orch_${model.split("/")[0]}`, { type: "llm", model, prompt_template: "go" });
  }
  const called = (forced_tool: string, state: JsonObject): Promise<void> =>
    start(`orch_${forced_tool}`, { type: "tool", forced_tool, input_keys: Object.keys(state) }, state);
  await called("facts", { sql: "select 1" });
  await called("send_email", { to: "ann@example.com", subject: "x", text: "y" });
  return runs;
}

async function fire(id: string, secret: string): Promise<Response> {
  const text = JSON.stringify({ at: "x" });
  const signature = `sha256=${createHmac("sha256", secret).update(text).digest("hex")}`;
  const options = { key: null, body: text, headers: { "x-hub-signature-256": signature } };
  return api.call("POST", `/api/v2/triggers/${id}/fire`, options);
}

// Fails when a secret is stored in plain text, or when an error, a refusal, a log line or a span quotes one.
test("no secret of a deployment is in an answer, event, log line, span, key of Redis or column of Postgres", async () => {
  await register();
  const key = await made(
    "/scale/api-keys",
    { name: "mine", tenant_id: "default", scopes: ["admin", "runs:read"] },
    "key",
  );
  const rotated = await made(`/scale/api-keys/${key.id}/rotate`, {}, "key");
  await api.define("orchestrations", "orch_fired", {
    name: "fired",
    entry_step_id: "s",
    steps: [{ id: "s", type: "print", print_content: "x" }],
  });
  const trigger = await made(
    "/api/v2/triggers",
    { orchestration_id: "orch_fired", message: "m", secret: CANARIES.trigger },
    "secret",
  );
  expect(trigger.secret).toBe(CANARIES.trigger);
  const fired = await fire(trigger.id, CANARIES.trigger);
  expect(fired.status).toBe(202);
  const refused = await fire(trigger.id, CANARIES.webhook);
  answers.push(await fired.text(), await refused.text());
  expect(refused.status).toBe(401);

  const runs = await use();
  const mailing = runs.length - 1;
  const ends = runs.map((_, index) => (index === mailing ? "completed" : "failed"));
  expect(await Promise.all(runs.map((run) => untilEnd(api, run)))).toEqual(ends);
  const isMailTried = async () => /"last_error":"/.test(await send("GET", "/scale/mails"));
  await until("the mail server has refused the mail", isMailTried);
  const streamToken = await api.call("POST", runPath(String(runs[0]), "stream-token"), { body: {} });
  const { token } = z.object({ token: z.string() }).parse(await streamToken.json());
  const isListed = async (name: string) =>
    /"state":"(failed|listed)"/.test(await send("GET", `/api/v2/mcp-servers/${name}`));
  for (const name of ["quotes", "grants"]) await until(`a worker has tried ${name}`, () => isListed(name));
  const isSent = async () => (await send("GET", "/scale/webhooks")).includes('"last_status":401');
  await until("the endpoint has refused a delivery", isSent);

  for (const run of runs) {
    for (const rest of ["status", "result", "events", "why", "stream"]) await send("GET", runPath(run, rest));
  }
  for (const path of [
    "/api/v2/tools",
    "/api/v2/tools/facts",
    "/api/v2/mcp-servers",
    "/api/v2/webhook-endpoints?tenant_id=default",
    "/api/v2/triggers",
    "/api/v2/workers",
    "/api/v2/metrics",
    "/health",
    "/scale/api-keys",
    "/scale/audit",
    "/scale/config",
    "/scale/master-keys",
    "/scale/dlq",
    "/scale/workers",
    "/scale/mails",
    "/scale/tenants/mailer/smtp",
  ]) {
    await send("GET", path);
    await send("GET", path, undefined, rotated.secret);
  }
  // The worker sends its pending spans before it ends.
  await api.workers[0]?.stop("SIGTERM");
  await api.settled();

  const canaries = {
    ...CANARIES,
    platformKey: api.platformKey,
    key: key.secret,
    rotatedKey: rotated.secret,
    restToken: String(api.stores.vars["UPSTASH_REDIS_REST_TOKEN"]),
    streamToken: token,
  };
  const places = {
    answers: answers.join("\n"),
    worker: JSON.stringify(api.workers.map(({ lines }) => lines)),
    edge: edgeLines.join("\n"),
    redis: await everyKey(api),
    postgres: await everyRow(api),
    spans: collector.bodies.join("\n"),
  };
  expect(leaksOf(places, canaries)).toEqual([]);
  // The secrets were used, and each place was read: it has a text that must be there. The logins are one for the mail and three
  // for the tests of mail servers that the egress guard allows.
  expect(loginsAtSmtp).toBeGreaterThan(3);
  for (const code of ["tool_unauthorized", "smtp_unauthorized", "********"])
    expect(places.answers).toContain(code);
  expect(places.spans).toContain("chat gpt-4.1");
  expect(places.spans).toContain("send default");
  expect(places.worker).toContain("run.execution_ended");
  expect(places.redis).toContain("synapse:");
});

// Fails when a sentence about a wrong variable quotes its value.
test("a process with wrong secrets does not start, and its sentences quote none of them", async () => {
  const wrong = {
    MASTER_KEY: CANARIES.masterKey.slice(1),
    REDIS_URL: `http://u:${CANARIES.redis}@host`,
    SCALE_POSTGRES_URL: `not a url ${CANARIES.postgres}`,
    SMTP_URL: `http://u:${CANARIES.smtp}@host`,
    STATE_URL: "https://edge.example.com",
    STATE_SECRET: "canary-short-state",
    S3_ENDPOINT: `${CANARIES.s3} is no url`,
    MCP_STDIO_ALLOW: `{"a": "${CANARIES.mcpToken}"`,
  };
  const worker = spawnWorker("wrong", wrong, await builtWorker("real"));
  await new Promise<void>((resolve) => worker.process.once("close", () => resolve()));
  const said = JSON.stringify(worker.lines);
  expect(said).toContain("MASTER_KEY");
  const sentences = [said];
  try {
    readConfig({
      ...api.stores.vars,
      MASTER_KEY: wrong.MASTER_KEY,
      MASTER_KEYS: `a:${wrong.MASTER_KEY}`,
      STATE_SECRET: "canary-short",
      METRICS_TOKEN: "canary-few",
      REDIS_URL: wrong.REDIS_URL,
      OTLP_ENDPOINT: `http://u:${CANARIES.metrics}@collector`,
    });
  } catch (error) {
    sentences.push(messageOf(error));
  }
  expect(sentences).toHaveLength(2);
  const canaries = { ...CANARIES, masterKey: wrong.MASTER_KEY, any: "canary-" };
  expect(leaksOf({ sentences: sentences.join("\n") }, canaries)).toEqual([]);
});
