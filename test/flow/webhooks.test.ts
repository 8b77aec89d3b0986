import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { describe, expect, vi } from "vitest";
import { z } from "zod";
import { bodyOf, runPath } from "../edge/app.ts";
import { WebhookReceiver } from "../worker-node/webhooks/webhook-receiver.ts";
import type { ReceivedRequest } from "../worker-node/webhooks/webhook-receiver.ts";
import { apiTest, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";
import { startStateEdge } from "./state-edge.ts";

const SECRET = "whispered-sécret-42";
const METRICS_TOKEN = "a-token-for-the-scraper";
const worker = { EGRESS_ALLOW: "127.0.0.1", METRICS_TOKEN };

/** A receiver, and an API with the runs whose ends it receives. */
class WebhookSetup {
  readonly api: FlowApi;
  readonly receiver: WebhookReceiver;

  constructor(api: FlowApi, receiver: WebhookReceiver) {
    this.api = api;
    this.receiver = receiver;
  }

  start(body: Record<string, unknown> = {}): Promise<string> {
    return this.api.start("orch_smoke", { message: "hi", webhook_url: this.receiver.url(), ...body });
  }

  /** The delivery rows of a run. */
  deliveries(run: string) {
    return this.api.stores.sql`select * from webhook_deliveries where run_id = ${run} order by seq`;
  }

  async untilDelivered(run: string): Promise<void> {
    const delivered = [{ outcome: "delivered" }];
    await vi.waitFor(async () => expect(await this.deliveries(run)).toMatchObject(delivered), 60_000);
  }
}

const test = apiTest.extend<{ setup: WebhookSetup }>({
  setup: async ({ api }, use) => {
    const receiver = await WebhookReceiver.listen();
    await use(new WebhookSetup(api, receiver));
    receiver.close();
  },
});

function expectSigned({ headers, body }: ReceivedRequest): void {
  const hex = createHmac("sha256", SECRET).update(body).digest("hex");
  expect(headers["x-synapse-signature"]).toBe(`sha256=${hex}`);
  const key = new TextEncoder().encode(SECRET);
  expect(new Webhook(key, { format: "raw" }).verify(body, headers)).toEqual(JSON.parse(body));
  expect(() => new Webhook("other", { format: "raw" }).verify(body, headers)).toThrow("signature");
}

describe.concurrent("a webhook", () => {
  // Fails when the flush does not wake the sender, the signature covers other bytes than the body, or a field is missing.
  test("carries the end of a run at once, signed, with the result", async ({ setup }) => {
    // Its passes come once in five minutes: what is sent sooner was sent because the flush woke the sender.
    const sender = await setup.api.startWorker("w", worker, "long");
    const run = await setup.start({ webhook_secret: SECRET, metadata: { order: 1 } });
    await untilEnd(setup.api, run);
    const [got] = await setup.receiver.waitForRequests(1);
    if (!got) throw new Error("nothing was received");
    expectSigned(got);
    expect(got.headers).toMatchObject({
      "content-type": "application/json",
      "user-agent": "synapse-edge",
      "webhook-id": expect.stringMatching(/^whd_[0-9a-f]{12}_[0-9]{13}_[0-9]+$/),
    });
    const status = await bodyOf(await setup.api.call("GET", runPath(run, "status")));
    const result = await bodyOf(await setup.api.call("GET", runPath(run, "result")));
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
      metadata: { order: 1 },
      correlation_id: run,
    });
    expect(body["final_state"]).toEqual(result["final_state"]);
    await setup.untilDelivered(run);
    const { health_port } = await sender.untilLogged("worker.ready");
    const headers = { authorization: `Bearer ${METRICS_TOKEN}` };
    const metrics = await (
      await fetch(`http://127.0.0.1:${String(health_port)}/metrics`, { headers })
    ).text();
    expect(metrics).toContain('synapse_webhook_deliveries_total{outcome="delivered"} 1');
    expect(metrics).toContain('synapse_webhook_deliveries{state="overdue"} 0');
  });

  // Fails when the secret is stored, queued, returned or logged in plain text.
  test("has a secret that no table, no key of Redis and no log line holds in plain text", async ({
    setup,
  }) => {
    const { untilLogged } = await setup.api.startWorker("w", worker);
    const run = await setup.start({ webhook_secret: SECRET });
    await setup.receiver.waitForRequests(1);
    await setup.untilDelivered(run);
    await untilLogged("webhook.sent");
    const { sql, redis } = setup.api.stores;
    const tables = await sql<{ name: string }[]>`
      select table_name as name from information_schema.tables where table_schema = 'public'`;
    for (const { name } of tables) {
      const rows = await sql`select t::text as row from ${sql(name)} t`;
      expect([name, rows.some(({ row }) => String(row).includes("whispered"))]).toEqual([name, false]);
    }
    expect((await setup.deliveries(run))[0]?.["secret"]).toMatch(/^v1\./);
    const keys = await redis.keys("*");
    expect(keys.length).toBeGreaterThan(0);
    for (const key of keys) {
      const dumped = await redis.dumpBuffer(key);
      expect([key, dumped?.includes("whispered") ?? false]).toEqual([key, false]);
    }
    const lines = JSON.stringify(setup.api.workers.map(({ lines: logged }) => logged));
    expect(lines).not.toContain("whispered");
    // The webhook's address may hold a token.
    expect(lines).not.toContain("token=");
  });

  // Fails when a try makes a new id or a new body, or a response of 5xx ends the delivery.
  test("is sent a third time with the same id and body after two failures of the receiver", async ({
    setup,
  }) => {
    await setup.api.startWorker("w", worker);
    setup.receiver.respond = (response) => {
      response.statusCode = setup.receiver.requests.length < 3 ? 503 : 200;
      response.end();
    };
    const run = await setup.start({ webhook_secret: SECRET });
    const got = await setup.receiver.waitForRequests(3);
    for (const each of got) expectSigned(each);
    expect(new Set(got.map(({ headers }) => headers["webhook-id"])).size).toBe(1);
    expect(new Set(got.map(({ body }) => body)).size).toBe(1);
    await setup.untilDelivered(run);
    expect(await setup.deliveries(run)).toMatchObject([
      { tries: 3, failures: 2, last_status: 200, last_error: null },
    ]);
  });

  // Fails when a delivery counts as done, or is deleted, before its outcome is written.
  test("is sent once more when its worker is killed between the receiver's 200 and the commit of the outcome", async ({
    setup,
  }) => {
    const first = await setup.api.startWorker("first", worker);
    setup.receiver.respond = (response) => {
      if (setup.receiver.requests.length === 1) first.process.kill("SIGKILL");
      response.end();
    };
    const run = await setup.start({ webhook_secret: SECRET });
    await setup.receiver.waitForRequests(1);
    await first.stop("SIGKILL");
    expect(await setup.deliveries(run)).toMatchObject([{ tries: 1, sending: true, outcome: null }]);
    const { sql } = setup.api.stores;
    await sql`update webhook_deliveries set next_at = now() + interval '1 hour' where run_id = ${run}`;
    await Promise.all([setup.api.startWorker("second", worker), setup.api.startWorker("third", worker)]);
    // Until the killed worker's lease on the delivery lapses, other workers do not send it.
    const other = await setup.start({ webhook_secret: SECRET });
    await setup.untilDelivered(other);
    expect(setup.receiver.requests).toHaveLength(2);
    await sql`update webhook_deliveries set next_at = now() where run_id = ${run}`;
    await setup.untilDelivered(run);
    expect(await setup.deliveries(run)).toMatchObject([{ tries: 2 }]);
    const got = setup.receiver.requests.filter(({ body }) => body.includes(run));
    expect(got).toHaveLength(2);
    expect(new Set(got.map(({ headers, body }) => `${headers["webhook-id"]} ${body}`)).size).toBe(1);
  });

  // Fails when only the end that a worker commits makes a delivery.
  test("carries the cancel of a queued run that no worker ever claimed", async ({ setup }) => {
    const run = await setup.start();
    expect(await bodyOf(await setup.api.call("POST", runPath(run, "cancel")))).toMatchObject({
      status: "cancelled",
    });
    await setup.api.startWorker("w", worker);
    const [got] = await setup.receiver.waitForRequests(1);
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
    await setup.untilDelivered(run);
  });

  // Fails when a worker without the lane sends, or when a verb is missing in the edge's internal route.
  test("is sent by workers with the lane webhooks only, also when they reach Postgres through the edge", async ({
    setup,
  }) => {
    const other = await setup.api.startWorker("w", { ...worker, WORKER_LANES: "default" });
    const run = await setup.start({ webhook_secret: SECRET });
    await untilEnd(setup.api, run);
    expect(setup.receiver.requests).toEqual([]);
    const { service, postgresUrl, sql } = setup.api.stores;
    const edge = await startStateEdge({ redisUrl: service.url, databaseUrl: postgresUrl, sql });
    await setup.api.startWorker("sender", { ...worker, ...edge.env, WORKER_LANES: "webhooks" });
    const [got] = await setup.receiver.waitForRequests(1);
    if (got) expectSigned(got);
    await setup.untilDelivered(run);
    expect(other.lines.map(({ event }) => event)).not.toContain("webhook.sent");
    expect(edge.requests()).toBeGreaterThan(0);
    edge.close();
  });
});
