import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeEach, expect, test } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import { WebhookReceiver } from "../worker-node/webhooks/webhook-receiver.ts";
import type { ReceivedRequest } from "../worker-node/webhooks/webhook-receiver.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";
import { startStateEdge } from "./state-edge.ts";

const SECRET = "whispered-sécret-42";
const METRICS_TOKEN = "who may count";
const worker = { EGRESS_ALLOW: "127.0.0.1", METRICS_TOKEN };

let api: FlowApi;
let receiver: WebhookReceiver;
beforeEach(async () => {
  [api, receiver] = await Promise.all([startApi(), WebhookReceiver.listen()]);
});
afterEach(async () => {
  await api.stop();
  receiver.close();
});

const start = (body: Record<string, string> = {}) =>
  api.start("orch_smoke", { message: "hi", webhook_url: receiver.url(), ...body });

function isSigned({ headers, body }: ReceivedRequest): void {
  const hex = createHmac("sha256", SECRET).update(body).digest("hex");
  expect(headers["x-synapse-signature"]).toBe(`sha256=${hex}`);
  const key = new TextEncoder().encode(SECRET);
  expect(new Webhook(key, { format: "raw" }).verify(body, headers)).toEqual(JSON.parse(body));
  expect(() => new Webhook("other", { format: "raw" }).verify(body, headers)).toThrow("signature");
}

/** The deliveries of a run, as they stand. */
const deliveries = (run: string) =>
  api.stores.sql`select * from webhook_deliveries where run_id = ${run} order by seq`;

const until = (run: string, outcome: string) =>
  expect.poll(async () => (await deliveries(run))[0]?.["outcome"], { timeout: 15_000 }).toBe(outcome);

// Red when: the sender is not woken by the flush, signs something else than what it sends, or the body lacks a field.
test("the end of a run is told at once, signed, with what it came to", async () => {
  const sender = await api.startWorker("w", worker);
  const run = await start({ webhook_secret: SECRET });
  await untilEnd(api, run);
  const endedMs = performance.now();
  const [got] = await receiver.waitForRequests(1);
  if (!got) throw new Error("nothing came");
  expect(got.atMs - endedMs).toBeLessThan(2_000);
  isSigned(got);
  expect(got.headers).toMatchObject({
    "content-type": "application/json",
    "user-agent": "synapse-edge",
    "webhook-id": expect.stringMatching(/^whd_[0-9a-f]{12}_[0-9]{13}_[0-9]+$/),
  });
  const status = await bodyOf(await api.call("GET", runPath(run, "status")));
  const result = await bodyOf(await api.call("GET", runPath(run, "result")));
  const body = z.record(z.string(), z.unknown()).parse(JSON.parse(got.body));
  expect(body).toEqual({
    type: "run.completed",
    run_id: run,
    orchestration_id: "orch_smoke",
    tenant_id: "default",
    status: "completed",
    output: result["output"],
    final_state: { user_input: "hi", user_query: "hi", a: "1", b: "2" },
    error: null,
    total_cost_usd: 0,
    total_tokens_used: 0,
    started_at: status["started_at"],
    ended_at: status["ended_at"],
    correlation_id: run,
  });
  expect(body["final_state"]).toEqual(result["final_state"]);
  await until(run, "delivered");
  const { health_port } = await sender.heard("worker.ready");
  const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
  const metrics = await (await fetch(`http://127.0.0.1:${String(health_port)}/metrics`, { headers })).text();
  expect(metrics).toContain('synapse_webhook_deliveries_total{outcome="delivered"} 1');
  expect(metrics).toContain('synapse_webhook_deliveries{state="overdue"} 0');
});

// Red when: the secret is stored, queued, shown or logged as it came.
test("the secret lies nowhere in clear", async () => {
  await api.startWorker("w", worker);
  const run = await start({ webhook_secret: SECRET });
  await receiver.waitForRequests(1);
  await until(run, "delivered");
  const { sql, redis } = api.stores;
  const tables = await sql<{ name: string }[]>`
    select table_name as name from information_schema.tables where table_schema = 'public'`;
  for (const { name } of tables) {
    const rows = await sql`select t::text as row from ${sql(name)} t`;
    expect([name, rows.some(({ row }) => String(row).includes("whispered"))]).toEqual([name, false]);
  }
  expect((await deliveries(run))[0]?.["secret"]).toMatch(/^v1\./);
  const keys = await redis.keys("*");
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) {
    const dumped = await redis.dumpBuffer(key);
    expect([key, dumped?.includes("whispered") ?? false]).toEqual([key, false]);
  }
  const lines = JSON.stringify(api.workers.map(({ lines: said }) => said));
  expect(lines).toContain("webhook.sent");
  expect(lines).not.toContain("whispered");
  // Its own webhook's address may hold a token.
  expect(lines).not.toContain("token=");
});

// Red when: a try makes an id or a body of its own, or an answer of 5xx ends it.
test("a receiver that fails twice gets the same a third time", async () => {
  await api.startWorker("w", worker);
  receiver.respond = (response) => {
    response.statusCode = receiver.requests.length < 3 ? 503 : 200;
    response.end();
  };
  const run = await start({ webhook_secret: SECRET });
  const got = await receiver.waitForRequests(3);
  for (const each of got) isSigned(each);
  expect(new Set(got.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
  expect(new Set(got.map(({ body }) => body)).size).toBe(1);
  await until(run, "delivered");
  expect(await deliveries(run)).toMatchObject([
    { tries: 3, failures: 2, last_status: 200, last_error: null },
  ]);
}, 30_000);

// Red when: a delivery is done, or gone, before its outcome is written.
test("a worker that is killed between the receiver's 200 and the outcome costs a repetition, not the delivery", async () => {
  const first = await api.startWorker("first", worker);
  receiver.respond = (response) => {
    if (receiver.requests.length === 1) first.process.kill("SIGKILL");
    response.end();
  };
  const run = await start({ webhook_secret: SECRET });
  await receiver.waitForRequests(1);
  await first.stop("SIGKILL");
  expect(await deliveries(run)).toMatchObject([{ tries: 1, sending: true, outcome: null }]);
  await Promise.all([api.startWorker("second", worker), api.startWorker("third", worker)]);
  // Not before the dead one's lease is over.
  expect(receiver.requests).toHaveLength(1);
  const got = await receiver.waitForRequests(2, 30_000);
  expect(new Set(got.map(({ headers, body }) => `${headers["webhook-id"]} ${body}`)).size).toBe(1);
  await until(run, "delivered");
  expect(await deliveries(run)).toMatchObject([{ tries: 2 }]);
  expect(receiver.requests).toHaveLength(2);
}, 60_000);

// Red when: only workers' ends are told.
test("a queued run that is cancelled is told, though no worker ever had it", async () => {
  const run = await start();
  expect(await bodyOf(await api.call("POST", runPath(run, "cancel")))).toMatchObject({ status: "cancelled" });
  await api.startWorker("w", worker);
  const [got] = await receiver.waitForRequests(1);
  expect(JSON.parse(got?.body ?? "")).toMatchObject({
    type: "run.cancelled",
    status: "cancelled",
    output: "The run was cancelled.",
    final_state: { user_input: "hi" },
    started_at: null,
    error: null,
  });
  expect(got?.headers).not.toHaveProperty("x-synapse-signature");
  expect(got?.headers).not.toHaveProperty("webhook-signature");
  await until(run, "delivered");
});

// Red when: any worker sends, or a verb does not go by HTTP.
test("workers of the lane send, and no others; also those that reach Postgres through the edge alone", async () => {
  await api.startWorker("w", { ...worker, WORKER_LANES: "default" });
  const run = await start({ webhook_secret: SECRET });
  await untilEnd(api, run);
  await sleep(1_000);
  expect(receiver.requests).toEqual([]);
  const { service, postgresUrl, sql } = api.stores;
  const edge = await startStateEdge({ redisUrl: service.url, databaseUrl: postgresUrl, sql });
  await api.startWorker("sender", { ...worker, ...edge.env, WORKER_LANES: "webhooks" });
  const [got] = await receiver.waitForRequests(1);
  if (got) isSigned(got);
  await until(run, "delivered");
  expect(edge.asked()).toBeGreaterThan(0);
  edge.close();
});
