import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import { SECRET_FIELD } from "../../../shared/contracts/webhook.ts";
import { masterKey, placeOf, unseal } from "../../../shared/seal.ts";
import { claimDeliveries } from "../../../shared/store/webhooks/claim-deliveries.ts";
import { saveDeliveryTry } from "../../../shared/store/webhooks/delivery-outcomes.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { Life } from "../fake-workers.ts";
import { MASTER_KEY } from "../world.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "10.1.0.0/16" });
});
afterAll(() => app.stop());

const HOOK = "https://hooks.example.com/take?token=t";
const SECRET = "whispered-sécret-42";

async function stored(run: string) {
  const [row] = await app.world.sql`select webhook_url, webhook_secret from runs where run_id = ${run}`;
  return { url: row?.["webhook_url"], secret: row?.["webhook_secret"] };
}

const refused = async (body: object, on = app) => {
  const answer = await on.call("POST", RUN, { body });
  return [answer.status, await bodyOf(answer)] as const;
};

describe("a request to run", () => {
  // Red when: the secret is stored as it came, or sealed for no run in particular.
  test("keeps its webhook, and the secret sealed for this run alone", async () => {
    const body = { webhook_url: HOOK, webhook_secret: SECRET };
    const [one, two] = [await startRun(app, { body }), await startRun(app, { body })];
    const { url, secret } = await stored(one);
    expect(url).toBe(HOOK);
    expect(secret).toMatch(/^v1\./);
    const key = masterKey().parse(MASTER_KEY);
    const opened = (run: string) => unseal(key, String(secret), placeOf(run, SECRET_FIELD));
    expect(await opened(one)).toBe(SECRET);
    await expect(opened(two)).rejects.toThrow("another place");
  });

  test("may do without a secret, and without a webhook", async () => {
    expect(await stored(await startRun(app, { body: { webhook_url: HOOK } }))).toEqual({
      url: HOOK,
      secret: null,
    });
    const none = { webhook_url: null, webhook_secret: null };
    expect(await stored(await startRun(app, { body: none }))).toEqual({ url: null, secret: null });
  });

  // Red when: the guard is not asked, or only about how an address is usually written.
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
  ])("is refused when it would have %s called", async (webhook_url) => {
    const [status, problem] = await refused({ webhook_url });
    expect(status).toBe(422);
    expect(problem).toMatchObject({ code: "invalid", errors: [{ path: "webhook_url" }] });
    expect(problem["detail"]).toContain("EGRESS_ALLOW");
  });

  // Red when: a mail server may be made to read a request.
  test("is refused when it names a port of another protocol", async () => {
    const [status, problem] = await refused({ webhook_url: "http://hooks.example.com:25/" });
    expect([status, problem["detail"]]).toEqual([
      422,
      "webhook_url has the port 25, which is for another protocol.",
    ]);
  });

  test("may name a private address that EGRESS_ALLOW names, and any name", async () => {
    for (const webhook_url of ["http://10.1.2.3/", "http://localhost:8080/", "https://1.1.1.1/"]) {
      expect((await app.call("POST", RUN, { body: { webhook_url } })).status).toBe(202);
    }
  });

  // Red when: lengths are those of the text as it came: an index would refuse the host, and with it the run's end.
  test.each([
    ["a host of many characters that are no ASCII", `https://${"\u4e2d\u56fd".repeat(300)}.example.com/`],
    ["a path of many characters that are no ASCII", `https://example.com/${"\u4e2d".repeat(1_000)}`],
  ])("with %s is refused", async (_what, webhook_url) => {
    const [status, problem] = await refused({ webhook_url });
    expect(status).toBe(422);
    expect(problem).toMatchObject({ errors: [{ path: "webhook_url" }] });
  });

  // Red when: what is kept of a request tells whoever reads the tables whether he has guessed the secret.
  test("leaves nothing behind by which its secret can be tried", async () => {
    const headers = { "idempotency-key": "hook-2" };
    const body = { message: "hi", webhook_url: HOOK, webhook_secret: SECRET };
    await app.call("POST", RUN, { body, headers });
    const [row] = await app.world.sql`select request_hash from idempotency_keys where key = 'hook-2'`;
    const guess = createHash("sha256")
      .update(JSON.stringify(["orch_smoke", body]))
      .digest("hex");
    expect(row?.["request_hash"]).toMatch(/^[0-9a-f]{64}$/);
    expect(row?.["request_hash"]).not.toBe(guess);
  });

  // Red when: the secret that is sealed anew each time is part of what is compared.
  test("is the same request when it is repeated with the same secret, and another with another", async () => {
    const headers = { "idempotency-key": "hook-1" };
    const post = (webhook_secret: string) =>
      app.call("POST", RUN, { body: { webhook_url: HOOK, webhook_secret }, headers });
    const [first, again] = [await post(SECRET), await post(SECRET)];
    expect([first.status, again.status]).toEqual([202, 202]);
    expect(again.headers.get("idempotent-replayed")).toBe("true");
    expect((await bodyOf(again))["run_id"]).toBe((await bodyOf(first))["run_id"]);
    expect((await post("another-secret")).status).toBe(409);
  });

  // Red when: a secret is dropped, or kept in clear, where it cannot be sealed.
  test("with a secret is refused by a sentence where there is no MASTER_KEY; without, it is taken", async () => {
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

/** A run that has ended, so that its delivery is due. */
async function told(tenant_id: string): Promise<string> {
  const body = { tenant_id, webhook_url: HOOK, webhook_secret: SECRET };
  const life = await Life.begin(app.world.sql, await startRun(app, { body }));
  await life.end("completed");
  return `${life.run.replace("run_", "whd_")}_${life.seq}`;
}

async function listed(query: string, key?: string) {
  const answer = await app.call("GET", `/scale/webhooks?${query}`, key === undefined ? {} : { key });
  return Deliveries.parse(await answer.json());
}

/** Sends what is due, as far as the store can tell. */
async function settleAll(outcome: "delivered" | "rejected"): Promise<void> {
  const { deliveries } = await claimDeliveries(app.world.sql, 100, [], null);
  for (const { delivery_id, tries } of deliveries) {
    await saveDeliveryTry(app.world.sql, {
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
  // Red when: the secret, or the query of the address, is shown.
  test("are listed with all that helps, without secrets", async () => {
    const id = await told("listed");
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

  test("go page by page, the newest first, without a gap and without a double", async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await told("paged"));
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

  test("are chosen by run and by outcome", async () => {
    const first = await told("chosen");
    await settleAll("rejected");
    const second = await told("chosen");
    const ids = async (query: string) => (await listed(`tenant_id=chosen&${query}`)).map(({ id }) => id);
    expect(await ids("outcome=rejected")).toEqual([first]);
    expect(await ids("outcome=pending")).toEqual([second]);
    expect(await ids("outcome=delivered")).toEqual([]);
    const [delivery] = await listed("tenant_id=chosen&outcome=rejected");
    expect(await ids(`run_id=${delivery?.run_id}`)).toEqual([first]);
    expect((await app.call("GET", "/scale/webhooks?outcome=lost")).status).toBe(422);
  });

  // Red when: an outcome stays, or the old time is kept.
  test("are sent again when somebody asks, under the same id, for another 24 hours", async () => {
    const id = await told("again");
    await settleAll("rejected");
    await app.world.sql`update webhook_deliveries set expires_at = now() where delivery_id = ${id}`;
    const answer = await app.call("POST", `/api/scale/webhooks/${id}/redeliver`);
    expect([answer.status, await bodyOf(answer)]).toMatchObject([
      202,
      { id, outcome: "pending", done_at: null },
    ]);
    const { deliveries } = await claimDeliveries(app.world.sql, 100, [], null);
    expect(deliveries.map(({ delivery_id, failures }) => [delivery_id, failures])).toEqual([[id, 0]]);
    const [row] = await app.world.sql`
      select expires_at > now() + interval '23 hours' as renewed from webhook_deliveries where delivery_id = ${id}`;
    expect(row?.["renewed"]).toBe(true);
  });

  // Red when: what its sender hears of what was before ends it: the receiver was mended meanwhile.
  test("that are being sent at this moment are sent once more, whatever comes of that", async () => {
    const id = await told("sending");
    const { sql } = app.world;
    const [sent] = (await claimDeliveries(sql, 100, [], null)).deliveries;
    expect((await app.call("POST", `/scale/webhooks/${id}/redeliver`)).status).toBe(202);
    const late = { delivery_id: id, tries: sent?.tries ?? 0, retry_ms: 0, status: 404, error: "no" };
    expect(await saveDeliveryTry(sql, { ...late, outcome: "rejected" })).toBe("superseded");
    const { deliveries } = await claimDeliveries(sql, 100, [], null);
    expect(deliveries.map(({ delivery_id }) => delivery_id)).toEqual([id]);
  });

  test("of another tenant do not exist, and only an admin's key sees any", async () => {
    const id = await told("owner");
    const stranger = await app.world.key("stranger");
    expect(await listed("", stranger)).toEqual([]);
    expect((await app.call("GET", "/scale/webhooks?tenant_id=owner", { key: stranger })).status).toBe(403);
    const again = `/scale/webhooks/${id}/redeliver`;
    expect((await app.call("POST", again, { key: stranger })).status).toBe(404);
    const reader = await app.world.key("owner", ["runs:read", "runs:write"]);
    expect((await app.call("POST", again, { key: reader })).status).toBe(403);
    expect((await app.call("GET", "/scale/webhooks", { key: reader })).status).toBe(403);
    expect((await listed("", await app.world.key("owner"))).map((delivery) => delivery.id)).toEqual([id]);
    expect((await app.call("POST", "/scale/webhooks/nonsense/redeliver")).status).toBe(404);
  });
});

test("no event and no view of a run shows its webhook", async () => {
  const run = await startRun(app, { body: { webhook_url: HOOK, webhook_secret: SECRET } });
  for (const rest of ["status", "events", "why"]) {
    const text = await (await app.call("GET", runPath(run, rest))).text();
    expect([rest, /whispered|token=t|v1\./.test(text)]).toEqual([rest, false]);
  }
});
