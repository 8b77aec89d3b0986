import { noArchive } from "../../services/journal-pages.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Webhook as StandardWebhook } from "standardwebhooks";
import { Webhook as SvixWebhook } from "svix";
import { z } from "zod";
import { LANE_DEFAULTS } from "../../../shared/contracts/lane-settings.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { WebhookSender } from "../../../worker-node/webhooks/webhook-sender.ts";
import { WebhookReceiver } from "../../worker-node/webhooks/webhook-receiver.ts";
import type { ReceivedRequest } from "../../worker-node/webhooks/webhook-receiver.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker } from "../fake-workers.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
let receiver: WebhookReceiver;
let sender: WebhookSender;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "127.0.0.1" });
  receiver = await WebhookReceiver.listen();
  sender = new WebhookSender(stateStore(app.stores.sql), {
    readArchive: noArchive,
    egress: createEgress("127.0.0.1"),
    masterKey: masterKey().parse(MASTER_KEY),
    laneSettings: (lane) => LANE_DEFAULTS[lane],
  });
  sender.start();
});
afterAll(async () => {
  await sender.drain(0);
  receiver.close();
  await app.stop();
});

const PATH = "/api/v2/webhook-endpoints";
const URL_A = "https://hooks.example.com/take?token=t";
const put = (id: string, body: object, key: string) =>
  app.call("PUT", `${PATH}/${id}`, { key, body: { url: URL_A, ...body } });
const read = async (id: string, key: string) => bodyOf(await app.call("GET", `${PATH}/${id}`, { key }));
const act = (id: string, action: string, key: string, body?: object) =>
  app.call("POST", `${PATH}/${id}/${action}`, { key, ...(body && { body }) });

/** Ends a run of the key's tenant, and waits for its next request at the receiver. */
async function nextRequest(key: string): Promise<ReceivedRequest> {
  const before = receiver.requests.length;
  const worker = await FakeWorker.claim(app.stores.sql, await startRun(app, { key }));
  await worker.end("completed");
  sender.wake();
  const request = (await receiver.waitForRequests(before + 1)).at(-1);
  if (!request) throw new Error("nothing was received");
  return request;
}

describe("an endpoint", () => {
  test("is created with a secret that only that response shows, read, listed, replaced and deleted", async () => {
    const key = await app.stores.key("acme");
    const created = await put("orders", { events: ["run.failed", "run.completed"] }, key);
    const { secret, ...shown } = await bodyOf(created);
    expect(created.status).toBe(201);
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    expect(shown).toEqual({
      id: "orders",
      tenant_id: "acme",
      url: URL_A,
      description: "",
      events: ["run.completed", "run.failed"],
      enabled: true,
      disable_after_days: 5,
      failing_since: null,
      disabled_at: null,
      disabled_reason: null,
      previous_secret_until: null,
      created_at: expect.stringMatching(/Z$/),
      updated_at: expect.stringMatching(/Z$/),
    });
    expect(await read("orders", key)).toEqual(shown);
    await put("all", {}, key);
    const page = await app.call("GET", `${PATH}?limit=1`, { key });
    expect(await page.json()).toMatchObject([{ id: "all" }]);
    expect(page.headers.get("link")).toBe(`<${PATH}?limit=1&cursor=all>; rel="next"`);

    const sealed = async () =>
      (await app.stores.sql`select secret from webhook_endpoints where endpoint_id = 'orders'`)[0]?.[
        "secret"
      ];
    const before = await sealed();
    expect(before).toMatch(/^v1\./);
    const replaced = await put("orders", { description: "Orders", enabled: false }, key);
    expect(replaced.status).toBe(200);
    const now = await bodyOf(replaced);
    expect(now).toMatchObject({ description: "Orders", enabled: false, disabled_reason: "requested" });
    expect(now).not.toHaveProperty("secret");
    expect(await sealed()).toBe(before);
    // Without `enabled` the endpoint keeps its state.
    expect(await bodyOf(await put("orders", {}, key))).toMatchObject({ enabled: false });
    expect(await bodyOf(await act("orders", "enable", key))).toMatchObject({ enabled: true });
    const withOwnSecret = await put("orders", { secret: "a secret of its own" }, key);
    expect(await bodyOf(withOwnSecret)).not.toHaveProperty("secret");
    expect(await sealed()).not.toBe(before);

    expect((await app.call("DELETE", `${PATH}/orders`, { key })).status).toBe(204);
    expect((await app.call("DELETE", `${PATH}/orders`, { key })).status).toBe(404);
    expect((await app.call("GET", `${PATH}/orders`, { key })).status).toBe(404);
    await app.call("DELETE", `${PATH}/all`, { key });
  });

  // Fails when a client that reads, edits and saves must know which of the fields GET alone has.
  test("can be edited as GET shows it, and sent back; its tenant_id must be the request's", async () => {
    const key = await app.stores.key("sent-back");
    const { secret: _, ...made } = await bodyOf(await put("orders", { enabled: false }, key));
    const edited = { ...made, description: "Orders" };
    const saved = await put("orders", edited, key);
    expect([saved.status, await bodyOf(saved)]).toEqual([
      200,
      { ...edited, updated_at: expect.stringMatching(/Z$/) },
    ]);
    const { platformKey } = app;
    expect(await bodyOf(await put("orders", edited, platformKey))).toMatchObject({ tenant_id: "sent-back" });
    const inQuery = await app.call("PUT", `${PATH}/orders?tenant_id=other`, {
      key: platformKey,
      body: edited,
    });
    expect([inQuery.status, await bodyOf(inQuery)]).toMatchObject([422, { errors: [{ path: "tenant_id" }] }]);
    expect((await put("orders", edited, await app.stores.key("sender"))).status).toBe(403);
    const otherId = await put("sales", edited, key);
    expect([otherId.status, await bodyOf(otherId)]).toMatchObject([422, { errors: [{ path: "id" }] }]);
  });

  test("of another tenant is neither seen nor changed, and a platform key names the tenant", async () => {
    const [key, other] = [await app.stores.key("one"), await app.stores.key("two")];
    await put("mine", {}, key);
    expect(await (await app.call("GET", PATH, { key: other })).json()).toEqual([]);
    for (const action of ["enable", "test", "rotate"]) {
      expect([action, (await act("mine", action, other)).status]).toEqual([action, 404]);
    }
    expect((await put("mine", { url: "https://theirs.example.com/" }, other)).status).toBe(201);
    expect(await read("mine", key)).toMatchObject({ url: URL_A });
    expect(await bodyOf(await app.call("GET", `${PATH}/mine?tenant_id=two`))).toMatchObject({
      url: "https://theirs.example.com/",
    });
    expect((await app.call("GET", `${PATH}/mine?tenant_id=two`, { key })).status).toBe(403);
    await app.settled();
    const audit = await app.stores
      .sql`select action, target, tenant_id, status from audit where tenant_id = 'one'`;
    expect(audit).toEqual([{ action: "putWebhookEndpoint", target: "mine", tenant_id: "one", status: 201 }]);
  });

  test.each([
    ["an address that is not public", { url: "http://10.0.0.1/" }, "url"],
    ["no URL", { url: "hooks.example.com" }, "url"],
    ["an event that does not exist", { events: ["run.exploded"] }, "events[0]"],
    ["no event", { events: [] }, "events"],
    ["a secret that does not decode", { secret: "whsec_not base64" }, "secret"],
    ["a secret that is too short", { secret: `whsec_${btoa("x".repeat(23))}` }, "secret"],
    ["too many days", { disable_after_days: 31 }, "disable_after_days"],
    ["a field that nothing reads", { event: ["run.failed"] }, "event"],
  ])("with %s is refused, and the error names the field", async (_what, body, path) => {
    const answer = await put("wrong", body, await app.stores.key("acme"));
    expect([answer.status, (await bodyOf(answer)).errors]).toMatchObject([422, [{ path }]]);
  });

  test("is refused without a MASTER_KEY, because it would be unsigned", async () => {
    const keyless = await startApp();
    const answer = await keyless.call("PUT", `${PATH}/a`, { body: { url: URL_A } });
    expect([answer.status, (await bodyOf(answer)).errors]).toMatchObject([422, [{ path: "secret" }]]);
    await keyless.stop();
  });
});

describe("a request to a receiver", () => {
  const verify = (secret: unknown, { body, headers }: ReceivedRequest) => {
    // The library of svix verifies too, and returns nothing.
    new SvixWebhook(String(secret)).verify(body, headers);
    return z.looseObject({}).parse(new StandardWebhook(String(secret)).verify(body, headers));
  };

  // Fails when only one secret signs during the overlap, or when the old secret signs after the overlap.
  test("is verified by standardwebhooks and svix: with either secret during a rotation, then with the new one", async () => {
    const key = await app.stores.key("rotating");
    const { secret: old } = await bodyOf(await put("r", { url: receiver.url() }, key));
    expect(verify(old, await nextRequest(key))).toMatchObject({
      type: "run.completed",
      tenant_id: "rotating",
    });

    const rotated = await bodyOf(await act("r", "rotate", key, { overlap_seconds: 600 }));
    const { secret: next } = rotated;
    expect(rotated.previous_secret_until).toMatch(/Z$/);
    const duringOverlap = await nextRequest(key);
    expect(duringOverlap.headers["webhook-signature"]?.split(" ")).toHaveLength(2);
    expect(verify(old, duringOverlap)).toEqual(verify(next, duringOverlap));
    expect((await act("r", "rotate", key)).status).toBe(409);

    await app.stores.sql`update webhook_endpoints set previous_until = now() where tenant_id = 'rotating'`;
    const after = await nextRequest(key);
    expect(verify(next, after)).toMatchObject({ type: "run.completed" });
    expect(() => verify(old, after)).toThrow("signature");
    expect(await read("r", key)).toMatchObject({ previous_secret_until: null });
    const rows = await app.stores.sql`select t::text as row from webhook_endpoints t`;
    for (const secret of [old, next]) expect(JSON.stringify(rows)).not.toContain(secret);
  });

  test("that tests an endpoint is signed and sent once, and the response of the API has the receiver's status", async () => {
    const key = await app.stores.key("testing");
    const { secret } = await bodyOf(await put("t", { url: receiver.url(), enabled: false }, key));
    const testing = async () => {
      const before = receiver.requests.length;
      const answer = act("t", "test", key);
      await expect
        .poll(
          () =>
            app.stores.sql`select from webhook_deliveries where type = 'webhook.test' and done_at is null`,
        )
        .toHaveLength(1);
      sender.wake();
      return { answer: await bodyOf(await answer), received: receiver.requests.slice(before) };
    };
    await app.stores.sql`update workers set status = 'offline'`;
    expect(await bodyOf(await act("t", "test", key))).toMatchObject({ status: 503, code: "no_worker" });
    await FakeWorker.claim(app.stores.sql, await startRun(app, { key }));
    const { answer, received } = await testing();
    expect(answer).toMatchObject({
      run_id: null,
      orchestration_id: null,
      type: "webhook.test",
      endpoint_id: "t",
      outcome: "delivered",
      last_status: 200,
    });
    const [request] = received;
    if (!request) throw new Error("nothing was received");
    expect(request.headers["webhook-id"]).toBe(answer.id);
    expect(verify(secret, request)).toEqual({
      type: "webhook.test",
      endpoint_id: "t",
      tenant_id: "testing",
      requested_at: expect.stringMatching(/Z$/),
    });
    receiver.respond = (response) => response.writeHead(503).end();
    const failed = await testing();
    receiver.respond = (response) => response.end();
    expect(failed.received).toHaveLength(1);
    expect(failed.answer).toMatchObject({
      outcome: "expired",
      last_status: 503,
      last_error: "the receiver answered HTTP 503",
    });
    // A test does not change the endpoint's state.
    expect(await read("t", key)).toMatchObject({ failing_since: null, enabled: false });
  });

  test("is listed by endpoint and by type, and is not sent again while the endpoint is disabled", async () => {
    const key = await app.stores.key("listing");
    for (const id of ["a", "b"]) await put(id, { url: receiver.url() }, key);
    const first = await nextRequest(key);
    const list = async (query: string, asKey = key) => {
      const answer = await app.call("GET", `/scale/webhooks?${query}`, { key: asKey });
      return z.array(z.looseObject({ id: z.string(), endpoint_id: z.string() })).parse(await answer.json());
    };
    expect((await list("")).map(({ endpoint_id }) => endpoint_id).toSorted()).toEqual(["a", "b"]);
    const [delivery, ...others] = await list("endpoint_id=a&type=run.completed");
    expect([delivery?.endpoint_id, others]).toEqual(["a", []]);
    expect(await list("endpoint_id=a&type=run.failed")).toEqual([]);
    expect(await list("endpoint_id=a&tenant_id=listing", app.platformKey)).toHaveLength(1);
    const unnamed = await app.call("GET", "/scale/webhooks?endpoint_id=a");
    expect([unnamed.status, (await bodyOf(unnamed)).errors]).toMatchObject([422, [{ path: "endpoint_id" }]]);
    expect(JSON.parse(first.body)).toMatchObject({ tenant_id: "listing" });

    await put("a", { url: receiver.url(), enabled: false }, key);
    const redeliverPath = `/scale/webhooks/${delivery?.id}/redeliver`;
    expect((await app.call("POST", redeliverPath, { key })).status).toBe(409);
    expect((await app.call("POST", redeliverPath, { key: await app.stores.key("other") })).status).toBe(404);
    await act("a", "enable", key);
    expect((await app.call("POST", redeliverPath, { key })).status).toBe(202);
  });
});
