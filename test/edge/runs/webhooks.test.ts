import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { sealedPlace, unseal } from "../../../shared/security/seal.ts";
import { claimDeliveries } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { saveDeliveryTry } from "../../../shared/store/webhooks/delivery-outcomes.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker } from "../fake-workers.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "10.1.0.0/16" });
});
afterAll(() => app.stop());

const HOOK = "https://hooks.example.com/take?token=t";
const SECRET = "whispered-sécret-42";

async function stored(run: string) {
  const [row] = await app.stores.sql`select webhook_url, webhook_secret from runs where run_id = ${run}`;
  return { url: row?.["webhook_url"], secret: row?.["webhook_secret"] };
}

const refused = async (body: object, testApp = app) => {
  const answer = await testApp.call("POST", RUN, { body });
  return [answer.status, await bodyOf(answer)] as const;
};

describe("a request to run", () => {
  // Fails when the secret is stored in clear, or sealed without its run.
  test("stores its webhook, and the secret sealed for this run alone", async () => {
    const body = { webhook_url: HOOK, webhook_secret: SECRET };
    const [first, second] = [await startRun(app, { body }), await startRun(app, { body })];
    const { url, secret } = await stored(first);
    expect(url).toBe(HOOK);
    expect(secret).toMatch(/^v1\./);
    const key = masterKey().parse(MASTER_KEY);
    const opened = (run: string) => unseal(key, String(secret), sealedPlace(run, SECRET_FIELD));
    expect(await opened(first)).toBe(SECRET);
    await expect(opened(second)).rejects.toThrow("another place");
  });

  test("may omit the secret, and the webhook", async () => {
    expect(await stored(await startRun(app, { body: { webhook_url: HOOK } }))).toEqual({
      url: HOOK,
      secret: null,
    });
    const none = { webhook_url: null, webhook_secret: null };
    expect(await stored(await startRun(app, { body: none }))).toEqual({ url: null, secret: null });
  });

  // Fails when the egress guard is not called, or only knows the usual notation of an address.
  test.each([
    "http://127.0.0.1:8080/",
    "http://2130706433/",
    "http://0x7f.1/",
    "https://10.2.3.4/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://[::ffff:7f00:1]/",
    "http://[fd00:ec2::254]/",
  ])("is refused when its webhook is %s", async (webhook_url) => {
    const [status, problem] = await refused({ webhook_url });
    expect(status).toBe(422);
    expect(problem).toMatchObject({ code: "invalid", errors: [{ path: "webhook_url" }] });
    expect(problem["detail"]).toContain("EGRESS_ALLOW");
  });

  // Fails when a request can be sent to a mail server.
  test("is refused when it names a port of another protocol", async () => {
    const [status, problem] = await refused({ webhook_url: "http://hooks.example.com:25/" });
    expect([status, problem["detail"]]).toEqual([
      422,
      "webhook_url has the port 25, which is for another protocol.",
    ]);
  });

  // Fails when a URL to which no delivery can be sent is accepted, or when the error gives another reason.
  test.each([
    ["http://hooks.example.com:0/", "has the port 0, on which no server listens"],
    ["http://hooks.example.com:65536/", "has the port 65536: a port is a number from 1 to 65535"],
    ["http://hooks.example.com:http/", "has the port http: a port is a number from 1 to 65535"],
    ["http://hooks.example.com./", "has a host that ends with a dot: leave the dot out"],
    ["http://a..example.com/", "has a host with an empty part"],
    [`http://${"a".repeat(64)}.example.com/`, "with a part of more than 63 characters"],
    ["https://user@hooks.example.com/", "must not contain a user or a password"],
    ["https://hooks.example.com/a#b", "must have no #"],
    ["http://[fe80::1%25eth0]/", "has an IPv6 address with a zone"],
    ["http://[fe80::zz]/", "has a host that is no host name and no address"],
    ["http://1.2.3.999/", "has a host that is no host name and no address"],
    ["https:///hook", "has no host"],
    ["https://", "has no host"],
    ["ftp://hooks.example.com/", "has the scheme ftp://: it must begin with https:// or http://"],
    ["ws://hooks.example.com/", "has the scheme ws://"],
    ["mailto:a@example.com", "must be a URL that begins with https:// or http://"],
    ["https:hooks.example.com", "must be a URL that begins with https:// or http://"],
    [" https://hooks.example.com/", "must not contain spaces or control characters"],
    ["https://hooks.example\n.com/", "must not contain spaces or control characters"],
  ])("that cannot be requested is refused with the reason: %s", async (webhook_url, message) => {
    const [status, problem] = await refused({ webhook_url });
    expect(status).toBe(422);
    expect(problem["errors"]).toEqual([{ path: "webhook_url", message: expect.stringContaining(message) }]);
  });

  test("may use a private address that EGRESS_ALLOW has, and any host name", async () => {
    for (const webhook_url of ["http://10.1.2.3/", "http://localhost:8080/", "https://1.1.1.1/"]) {
      expect((await app.call("POST", RUN, { body: { webhook_url } })).status).toBe(202);
    }
  });

  // Fails when lengths are checked before the URL is encoded: an index would refuse the host, and with it the run's end.
  test.each([
    ["a long host of non-ASCII characters", `https://${"\u4e2d\u56fd".repeat(300)}.example.com/`],
    ["a long path of non-ASCII characters", `https://example.com/${"\u4e2d".repeat(1_000)}`],
  ])("with %s is refused", async (_what, webhook_url) => {
    const [status, problem] = await refused({ webhook_url });
    expect(status).toBe(422);
    expect(problem).toMatchObject({ errors: [{ path: "webhook_url" }] });
  });

  // Fails when an attacker with the tables can test a guess of the secret against the stored hash of the request.
  test("stores nothing with which an attacker could test a guess of its secret", async () => {
    const headers = { "idempotency-key": "hook-2" };
    const body = { message: "hi", webhook_url: HOOK, webhook_secret: SECRET };
    await app.call("POST", RUN, { body, headers });
    const [row] = await app.stores.sql`select request_hash from idempotency_keys where key = 'hook-2'`;
    const guess = createHash("sha256")
      .update(JSON.stringify(["orch_smoke", body]))
      .digest("hex");
    expect(row?.["request_hash"]).toMatch(/^[0-9a-f]{64}$/);
    expect(row?.["request_hash"]).not.toBe(guess);
  });

  // Fails when the comparison includes the sealed secret, which differs each time.
  test("is the same request with the same secret, and another request with another secret", async () => {
    const headers = { "idempotency-key": "hook-1" };
    const post = (webhook_secret: string) =>
      app.call("POST", RUN, { body: { webhook_url: HOOK, webhook_secret }, headers });
    const [first, repeated] = [await post(SECRET), await post(SECRET)];
    expect([first.status, repeated.status]).toEqual([202, 202]);
    expect(repeated.headers.get("idempotent-replayed")).toBe("true");
    expect((await bodyOf(repeated))["run_id"]).toBe((await bodyOf(first))["run_id"]);
    expect((await post("another-secret")).status).toBe(409);
  });

  // Fails when a secret that cannot be sealed is dropped, or stored in clear.
  test("with a secret is refused without a MASTER_KEY; without a secret it is accepted", async () => {
    const keyless = await startApp();
    const [status, problem] = await refused({ webhook_url: HOOK, webhook_secret: SECRET }, keyless);
    expect([status, problem["code"]]).toEqual([422, "invalid"]);
    expect(problem["detail"]).toContain("MASTER_KEY");
    expect(JSON.stringify(problem)).not.toContain("whispered");
    expect((await keyless.call("POST", RUN, { body: { webhook_url: HOOK } })).status).toBe(202);
    await keyless.stop();
  });
});

const Deliveries = z.array(z.looseObject({ id: z.string(), run_id: RunId, outcome: z.string() }));

/** Ends a run, so that its delivery is due. @returns the id of the delivery */
async function dueDelivery(tenant_id: string): Promise<string> {
  const body = { tenant_id, webhook_url: HOOK, webhook_secret: SECRET };
  const worker = await FakeWorker.claim(app.stores.sql, await startRun(app, { body }));
  await worker.end("completed");
  return `${worker.run.replace("run_", "whd_")}_${worker.seq}`;
}

async function listed(query: string, key?: string) {
  const answer = await app.call("GET", `/scale/webhooks?${query}`, key === undefined ? {} : { key });
  return Deliveries.parse(await answer.json());
}

/** Records an outcome for every due delivery. */
async function saveOutcomes(outcome: "delivered" | "rejected"): Promise<void> {
  const { deliveries } = await claimDeliveries(app.stores.sql, 100, [], null);
  for (const { delivery_id, tries } of deliveries) {
    await saveDeliveryTry(app.stores.sql, {
      delivery_id,
      tries,
      outcome,
      retry_ms: 0,
      status: 418,
      error: "no",
    });
  }
}

describe("deliveries", () => {
  // Fails when the secret, or the query of the URL, is shown.
  test("are listed without secrets", async () => {
    const id = await dueDelivery("listed");
    const run_id = RunId.parse(id.replace("whd_", "run_").replace(/_[0-9]+$/, ""));
    for (const prefix of ["/scale", "/api/scale"]) {
      const answer = await app.call("GET", `${prefix}/webhooks?tenant_id=listed`);
      expect(await answer.json()).toEqual([
        {
          id,
          run_id,
          tenant_id: "listed",
          orchestration_id: "orch_smoke",
          type: "run.completed",
          endpoint_id: null,
          url: "https://hooks.example.com/take?…",
          signed: true,
          outcome: "pending",
          tries: 0,
          last_status: null,
          last_error: null,
          created_at: expect.stringMatching(/Z$/),
          next_at: expect.stringMatching(/Z$/),
          expires_at: expect.stringMatching(/Z$/),
          done_at: null,
        },
      ]);
    }
  });

  test("are paged, newest first, without a gap and without a duplicate", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await dueDelivery("paged"));
    const seen: string[] = [];
    let url: string | undefined = "/scale/webhooks?tenant_id=paged&limit=2";
    for (let page = 0; url !== undefined && page < 9; page++) {
      const answer: Response = await app.call("GET", url);
      seen.push(...Deliveries.parse(await answer.json()).map((delivery) => delivery.id));
      url = /<(.*)>; rel="next"/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    expect(seen).toEqual(ids.toReversed());
    const answer = await app.call("GET", "/scale/webhooks?cursor=nonsense");
    expect([answer.status, (await bodyOf(answer))["code"]]).toEqual([400, "bad_cursor"]);
  });

  test("are filtered by run and by outcome", async () => {
    const first = await dueDelivery("chosen");
    await saveOutcomes("rejected");
    const second = await dueDelivery("chosen");
    const ids = async (query: string) => (await listed(`tenant_id=chosen&${query}`)).map(({ id }) => id);
    expect(await ids("outcome=rejected")).toEqual([first]);
    expect(await ids("outcome=pending")).toEqual([second]);
    expect(await ids("outcome=delivered")).toEqual([]);
    const [delivery] = await listed("tenant_id=chosen&outcome=rejected");
    expect(await ids(`run_id=${delivery?.run_id}`)).toEqual([first]);
    expect((await app.call("GET", "/scale/webhooks?outcome=lost")).status).toBe(422);
  });

  // Fails when the old outcome or the old expiry stays.
  test("are due again after a redeliver, under the same id, for another 24 hours", async () => {
    const id = await dueDelivery("again");
    await saveOutcomes("rejected");
    await app.stores.sql`update webhook_deliveries set expires_at = now() where delivery_id = ${id}`;
    const answer = await app.call("POST", `/api/scale/webhooks/${id}/redeliver`);
    expect([answer.status, await bodyOf(answer)]).toMatchObject([
      202,
      { id, outcome: "pending", done_at: null },
    ]);
    const { deliveries } = await claimDeliveries(app.stores.sql, 100, [], null);
    expect(deliveries.map(({ delivery_id, failures }) => [delivery_id, failures])).toEqual([[id, 0]]);
    const [row] = await app.stores.sql`
      select expires_at > now() + interval '23 hours' as renewed from webhook_deliveries where delivery_id = ${id}`;
    expect(row?.["renewed"]).toBe(true);
  });

  // Fails when the result of the try under way ends the delivery: the receiver may be repaired meanwhile.
  test("that are being sent are sent once more after a redeliver, whatever the result of the try under way", async () => {
    const id = await dueDelivery("sending");
    const { sql } = app.stores;
    const [sent] = (await claimDeliveries(sql, 100, [], null)).deliveries;
    expect((await app.call("POST", `/scale/webhooks/${id}/redeliver`)).status).toBe(202);
    const late = { delivery_id: id, tries: sent?.tries ?? 0, retry_ms: 0, status: 404, error: "no" };
    expect(await saveDeliveryTry(sql, { ...late, outcome: "rejected" })).toBe("superseded");
    const { deliveries } = await claimDeliveries(sql, 100, [], null);
    expect(deliveries.map(({ delivery_id }) => delivery_id)).toEqual([id]);
  });

  test("of another tenant do not exist, and only an admin's key reads any", async () => {
    const id = await dueDelivery("owner");
    const stranger = await app.stores.key("stranger");
    expect(await listed("", stranger)).toEqual([]);
    expect((await app.call("GET", "/scale/webhooks?tenant_id=owner", { key: stranger })).status).toBe(403);
    const redeliverPath = `/scale/webhooks/${id}/redeliver`;
    expect((await app.call("POST", redeliverPath, { key: stranger })).status).toBe(404);
    const reader = await app.stores.key("owner", ["runs:read", "runs:write"]);
    expect((await app.call("POST", redeliverPath, { key: reader })).status).toBe(403);
    expect((await app.call("GET", "/scale/webhooks", { key: reader })).status).toBe(403);
    expect((await listed("", await app.stores.key("owner"))).map((delivery) => delivery.id)).toEqual([id]);
    expect((await app.call("POST", "/scale/webhooks/nonsense/redeliver")).status).toBe(404);
  });
});

test("no event and no response about a run shows its webhook", async () => {
  const run = await startRun(app, { body: { webhook_url: HOOK, webhook_secret: SECRET } });
  for (const rest of ["status", "events", "why"]) {
    const text = await (await app.call("GET", runPath(run, rest))).text();
    expect([rest, /whispered|token=t|v1\./.test(text)]).toEqual([rest, false]);
  }
});
