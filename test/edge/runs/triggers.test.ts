import { createHmac } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunInput } from "../../../shared/contracts/run.ts";
import { untilLockWait } from "../../services/waiting.ts";
import { bodyOf, runPath, startApp, type CallOptions, type TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY });
});
afterAll(() => app.stop());

const TRIGGERS = "/api/v2/triggers";
type Created = { id: string; url: string; secret: string };
const create = async (body: object = {}, options: CallOptions = {}): Promise<Created> => {
  const sent = { orchestration_id: "orch_smoke", ...body };
  const response = await app.call("POST", TRIGGERS, { body: sent, ...options });
  expect(response.status).toBe(201);
  const { id, url, secret } = await bodyOf(response);
  return { id: String(id), url: String(url), secret: String(secret) };
};

const post = (url: string, text: string, headers: Record<string, string>) =>
  app.call("POST", url, { key: null, body: text, headers });
const gitHub = (secret: string, text: string) => ({
  "x-hub-signature-256": `sha256=${createHmac("sha256", secret).update(text).digest("hex")}`,
});
const standard = (secret: string, id: string, text: string, at = new Date()) => ({
  "webhook-id": id,
  "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
  "webhook-signature": new Webhook(secret).sign(id, at, text),
});
/** As senders sign that use Svix: Clerk, Resend and others. */
const svix = (secret: string, id: string, text: string) =>
  Object.fromEntries(
    Object.entries(standard(secret, id, text)).map(([name, value]) => [
      name.replace("webhook", "svix"),
      value,
    ]),
  );
const inputOf = async (run: unknown) => {
  const [row] = await app.stores.sql<
    { input: string }[]
  >`select input from runs where run_id = ${String(run)}`;
  return RunInput.parse(JSON.parse(row?.input ?? ""));
};

describe("a trigger", () => {
  test("shows its secret once, and no other answer or row has it", async () => {
    const { id, secret } = await create({ name: "push", message: "hi" });
    expect(secret).toMatch(/^whsec_/);
    const shown = await (await app.call("GET", `${TRIGGERS}/${id}`)).text();
    const listed = await (await app.call("GET", TRIGGERS)).text();
    const [row] = await app.stores.sql`select secret from triggers where trigger_id = ${id}`;
    for (const text of [shown, listed, String(row?.secret)]) expect(text).not.toContain(secret);
    expect(listed).toContain(id);
  });

  test("can be edited as GET shows it, and sent back", async () => {
    const { id } = await create({ name: "push", message: "hi" });
    const shown = await bodyOf(await app.call("GET", `${TRIGGERS}/${id}`));
    const edited = await app.call("PUT", `${TRIGGERS}/${id}`, { body: { ...shown, message: "stop" } });
    expect([edited.status, await bodyOf(edited)]).toMatchObject([200, { name: "push", message: "stop" }]);
  });

  // Fails when the signature is compared with another reading of the body than the bytes that were signed.
  test("takes a signed body with a byte order mark, and refuses a signed body that is no UTF-8 with that reason", async () => {
    const { url, secret } = await create();
    const fire = (bytes: Buffer) => {
      const signature = `sha256=${createHmac("sha256", secret).update(bytes).digest("hex")}`;
      const headers = { "content-type": "application/json", "x-hub-signature-256": signature };
      return app.call("POST", url, { key: null, body: Uint8Array.from(bytes), headers });
    };
    const marked = await fire(Buffer.from('\ufeff{"n":1}'));
    expect(marked.status).toBe(202);
    expect((await inputOf((await bodyOf(marked)).run_id)).state).toEqual({ trigger: { n: 1 } });
    const latin1 = await fire(Buffer.from('{"n":"\u00e9"}', "latin1"));
    expect([latin1.status, (await bodyOf(latin1)).code]).toEqual([400, "malformed_json"]);
  });

  // GitHub's default of a webhook's content type. Fails when such a webhook has a 415 until its owner finds the setting.
  test("takes the JSON in the field payload of a signed form, and no other form", async () => {
    const { url, secret } = await create();
    const send = (form: string) =>
      post(url, form, { ...gitHub(secret, form), "content-type": "application/x-www-form-urlencoded" });
    const payload = JSON.stringify({ zen: "Half measures = 50% & ü+1" }).replace(
      "}",
      ',"id":9007199254740993}',
    );
    const taken = await send(new URLSearchParams({ payload }).toString());
    expect(taken.status).toBe(202);
    expect((await inputOf((await bodyOf(taken)).run_id)).state).toEqual({
      trigger: { zen: "Half measures = 50% & ü+1", id: "9007199254740993" },
    });
    const other = await send("a=1");
    expect([other.status, (await bodyOf(other)).code]).toEqual([415, "unsupported_media_type"]);
    const broken = await send("payload=%7B");
    expect([broken.status, (await bodyOf(broken)).code]).toEqual([400, "malformed_json"]);
  });

  // Fails when a request is refused for a digest that its sender may name and this API does not compare.
  test("may name digests of other algorithms, which are not compared", async () => {
    const { url, secret } = await create({});
    const send = (sent: string, digest: string) =>
      post(url, sent, { ...gitHub(secret, sent), "content-digest": digest });
    expect((await send('{"n":1}', "sha-512=:AAAA:")).status).toBe(202);
    expect((await send('{"n":2}', `sha-256=:${"A".repeat(43)}=:`)).status).toBe(400);
  });

  // Fails when a request with 64-bit ids, which its sender cannot write otherwise, is a 422, or when their digits change.
  test("keeps the digits of integers beyond 2^53 as texts, as tool results do", async () => {
    const { url, secret } = await create({ message_path: "order.id" });
    const sent = '{"order":{"id":9007199254740993,"n":[12345678901234567890,7]}}';
    const answer = await post(url, sent, gitHub(secret, sent));
    expect(answer.status).toBe(202);
    const order = { id: "9007199254740993", n: ["12345678901234567890", 7] };
    expect(await inputOf((await bodyOf(answer)).run_id)).toEqual({
      message: "9007199254740993",
      state: { trigger: { order } },
    });
    // A key without quotation marks is not JSON: the replacement of long integers must not make it valid.
    const broken = "{9007199254740993:1}";
    expect((await post(url, broken, gitHub(secret, broken))).status).toBe(400);
  });

  // Fails when a request without a secret writes the one back that it has read: the old secret would be valid again.
  test("keeps the secret that another request gives it while it is replaced without one", async () => {
    const { sql } = app.stores;
    const [first, second] = [await create(), await create()];
    let replacing: Promise<Response> | undefined;
    await sql.begin(async (tx) => {
      await tx`update triggers set secret = (select secret from triggers where trigger_id = ${second.id})
        where trigger_id = ${first.id}`;
      const body = { orchestration_id: "orch_smoke", name: "renamed" };
      replacing = app.call("PUT", `${TRIGGERS}/${first.id}`, { body });
      await untilLockWait(sql);
    });
    expect((await replacing)?.status).toBe(200);
    const secrets =
      await sql`select distinct secret from triggers where trigger_id in (${first.id}, ${second.id})`;
    expect(secrets).toHaveLength(1);
  });

  test("is replaced with its URL and secret kept, disabled, and deleted", async () => {
    const { id, url, secret } = await create();
    const put = (body: object) =>
      app.call("PUT", `${TRIGGERS}/${id}`, { body: { orchestration_id: "orch_smoke", ...body } });
    expect(await bodyOf(await put({ name: "b" }))).toMatchObject({ id, name: "b", url });
    expect((await post(url, '{"n":1}', gitHub(secret, '{"n":1}'))).status).toBe(202);
    await put({ disabled: true });
    expect((await post(url, '{"n":2}', gitHub(secret, '{"n":2}'))).status).toBe(409);
    await put({ secret: "another secret" });
    expect((await post(url, '{"n":3}', gitHub(secret, '{"n":3}'))).status).toBe(401);
    expect((await post(url, '{"n":3}', gitHub("another secret", '{"n":3}'))).status).toBe(202);
    expect((await app.call("DELETE", `${TRIGGERS}/${id}`)).status).toBe(204);
    expect((await post(url, "{}", gitHub(secret, "{}"))).status).toBe(404);
  });

  test("does not exist for another tenant, and needs the scope and an orchestration that exists", async () => {
    const { id } = await create({ tenant_id: "one" });
    const key = await app.stores.key("two");
    expect((await app.call("GET", `${TRIGGERS}/${id}`, { key })).status).toBe(404);
    expect((await app.call("DELETE", `${TRIGGERS}/${id}`, { key })).status).toBe(404);
    const body = { orchestration_id: "orch_smoke" };
    expect((await app.call("PUT", `${TRIGGERS}/${id}`, { key, body })).status).toBe(404);
    const reader = await app.stores.key("one", ["runs:read"]);
    expect((await app.call("POST", TRIGGERS, { key: reader, body })).status).toBe(403);
    const unknown = { orchestration_id: "nowhere" };
    expect((await app.call("POST", TRIGGERS, { body: unknown })).status).toBe(404);
  });
});

describe("a signed request", () => {
  const text = JSON.stringify({ head_commit: { message: "fix" }, n: 1 });

  test.each(["as GitHub signs", "by Standard Webhooks", "by Svix"])(
    "%s starts a run with the body as state.trigger",
    async (how) => {
      const { url, secret } = await create({
        message_path: "head_commit.message",
        state: { a: 1 },
        tenant_id: "hooks",
      });
      const sign =
        how === "as GitHub signs" ? () => gitHub(secret, text) : how === "by Svix" ? svix : standard;
      const headers = sign(secret, "msg_1", text);
      const response = await post(url, text, headers);
      expect(response.status).toBe(202);
      const { run_id } = await bodyOf(response);
      expect(await inputOf(run_id)).toEqual({ message: "fix", state: { a: 1, trigger: JSON.parse(text) } });
      expect(await bodyOf(await app.call("GET", runPath(String(run_id), "status")))).toMatchObject({
        triggered_by: "webhook",
        tenant_id: "hooks",
      });
    },
  );

  test("that is repeated starts no second run: it is recognized by its id, whatever its signature, and in GitHub's form by its body, for ten minutes", async () => {
    const { url, secret } = await create();
    const first = await bodyOf(await post(url, text, standard(secret, "msg_2", text)));
    const later = new Date(Date.now() + 1_000);
    const repeated = await post(url, text, standard(secret, "msg_2", text, later));
    expect(repeated.headers.get("idempotent-replayed")).toBe("true");
    expect((await bodyOf(repeated)).run_id).toBe(first.run_id);
    expect((await bodyOf(await post(url, text, standard(secret, "msg_3", text)))).run_id).not.toBe(
      first.run_id,
    );
    const github = await bodyOf(await post(url, text, gitHub(secret, text)));
    expect((await bodyOf(await post(url, text, gitHub(secret, text)))).run_id).toBe(github.run_id);
    await app.stores
      .sql`update idempotency_keys set created_at = now() - interval '11 minutes' where run_id = ${String(github.run_id)}`;
    expect((await bodyOf(await post(url, text, gitHub(secret, text)))).run_id).not.toBe(github.run_id);
  });

  // Fails when the refusal names an Idempotency-Key, which the sender of a webhook never sent.
  test("with a known webhook-id and another body is refused, and the refusal names the webhook-id", async () => {
    const { url, secret } = await create();
    expect((await post(url, text, standard(secret, "msg_7", text))).status).toBe(202);
    const other = '{"n":2}';
    const refusal = await (await post(url, other, standard(secret, "msg_7", other))).text();
    expect(JSON.parse(refusal)).toMatchObject({
      status: 409,
      code: "idempotency_conflict",
      detail: "This webhook-id was used with another request; use a new one for a new request.",
    });
    expect(refusal).not.toContain("Idempotency-Key");
  });

  test("is refused with another body, secret, trigger or time, and without a signature", async () => {
    const { url, secret } = await create();
    const other = await create();
    const old = new Date(Date.now() - 6 * 60_000);
    const refused = [
      post(url, `${text} `, gitHub(secret, text)),
      post(url, text, gitHub("no secret at all", text)),
      post(other.url, text, gitHub(secret, text)),
      post(url, text, standard(secret, "msg_4", text, old)),
      post(url, text, { ...standard(secret, "msg_5", text), "webhook-id": "msg_6" }),
      post(url, text, {}),
    ];
    for (const response of await Promise.all(refused)) expect(response.status).toBe(401);
  });

  // Fails when a sender whose clock is wrong looks for a wrong secret.
  test("with a valid signature and a time too far from now is refused by an error that names the time", async () => {
    const { url, secret } = await create();
    const old = standard(secret, "msg_7", text, new Date(Date.now() - 6 * 60_000));
    const forged = { ...old, "webhook-id": "msg_8" };
    const [late, wrong] = await Promise.all([post(url, text, old), post(url, text, forged)]);
    expect([late.status, (await bodyOf(late)).detail]).toEqual([
      401,
      expect.stringContaining("webhook-timestamp"),
    ]);
    expect([wrong.status, (await bodyOf(wrong)).detail]).toEqual([
      401,
      expect.stringContaining("is not signed"),
    ]);
  });

  // GitHub sends null for the text of a pull request without one. Fails when the run is about the word null.
  test("has an empty message where the body has null at the path of it", async () => {
    const { url, secret } = await create({ message_path: "pull_request.body" });
    const body = '{"pull_request":{"body":null}}';
    const started = await post(url, body, gitHub(secret, body));
    expect(started.status).toBe(202);
    expect((await inputOf((await bodyOf(started)).run_id)).message).toBe("");
  });

  // Fails when Bitbucket's requests are unsigned ones.
  test("takes the SHA-256 that Bitbucket sends in X-Hub-Signature, in either case, and no SHA-1", async () => {
    const { url, secret } = await create();
    const digest = (algorithm: string, body: string) =>
      createHmac(algorithm, secret).update(body).digest("hex");
    const sent = (body: string, signature: string) => post(url, body, { "x-hub-signature": signature });
    expect((await sent('{"b":1}', `sha256=${digest("sha256", '{"b":1}')}`)).status).toBe(202);
    expect((await sent('{"b":2}', `sha256=${digest("sha256", '{"b":2}').toUpperCase()}`)).status).toBe(202);
    expect((await sent('{"b":3}', `sha1=${digest("sha1", '{"b":3}')}`)).status).toBe(401);
    const both = { ...gitHub(secret, '{"b":4}'), "x-hub-signature": `sha1=${digest("sha1", '{"b":4}')}` };
    expect((await post(url, '{"b":4}', both)).status).toBe(202);
  });

  test("with a body that is no JSON is a 400, and one without the message a 422 with the path of the message", async () => {
    const { url, secret } = await create({ message_path: "a.b" });
    const broken = await bodyOf(await post(url, "{", gitHub(secret, "{")));
    expect(broken).toMatchObject({ status: 400, code: "malformed_json" });
    const missing = await bodyOf(await post(url, '{"a":{}}', gitHub(secret, '{"a":{}}')));
    expect(missing).toMatchObject({ status: 422, errors: [{ path: "a.b" }] });
  });

  test("passes the tenant's admission: with a full queue it is a 429", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "full", max_queued_runs: 0 } });
    const { url, secret } = await create({ tenant_id: "full" });
    const response = await post(url, text, gitHub(secret, text));
    expect([response.status, response.headers.has("retry-after")]).toEqual([429, true]);
  });
});

test("without a MASTER_KEY a trigger is refused: its secret could not be stored", async () => {
  const bare = await startApp();
  const refused = await bare.call("POST", TRIGGERS, { body: { orchestration_id: "orch_smoke" } });
  expect(await bodyOf(refused)).toMatchObject({ status: 422, errors: [{ path: "secret" }] });
  await bare.stop();
});
