import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import { mailServerPlace } from "../../../shared/contracts/mail-server.ts";
import { masterKey } from "../../../shared/security/master-keys.ts";
import { unseal } from "../../../shared/security/seal.ts";
import { claimMails } from "../../../shared/store/mails/claim-mails.ts";
import { queueMail } from "../../../shared/store/mails/queue-mail.ts";
import { bodyOf, startApp, startRun, type TestApp } from "../app.ts";
import { MASTER_KEY } from "../test-stores.ts";

let app: TestApp;
let acme: string;
let globex: string;
beforeAll(async () => {
  app = await startApp({ MASTER_KEY, EGRESS_ALLOW: "mail.internal" });
  [acme, globex] = [await app.stores.key("acme"), await app.stores.key("globex")];
  for (const tenant_id of ["acme", "globex"])
    await app.call("POST", "/scale/tenants", { body: { tenant_id } });
});
afterAll(() => app.stop());
afterEach(async () => {
  await app.stores.sql`truncate mails, mail_servers`;
});

const AT = "/scale/tenants/acme/smtp";
const server = {
  smtp_url: "smtp://user:canary-sesame@mail.example.com:587",
  smtp_from: "Acme <a@acme.example>",
};
const put = (body: object, key = acme) => app.call("PUT", AT, { key, body });

describe("the mail server of a tenant", () => {
  test("is saved sealed for its tenant, and no answer has its URL", async () => {
    const saved = await put(server);
    expect(saved.status).toBe(200);
    const shown = { tenant_id: "acme", smtp_url: "********", smtp_from: server.smtp_from };
    expect(await bodyOf(saved)).toMatchObject(shown);
    expect(await bodyOf(await app.call("GET", AT, { key: acme }))).toMatchObject(shown);
    const [row] = await app.stores.sql`select smtp_url from mail_servers where tenant_id = 'acme'`;
    const sealed = String(row?.["smtp_url"]);
    expect(sealed).not.toContain("sesame");
    const keys = masterKey().parse(MASTER_KEY);
    expect(await unseal(keys, sealed, mailServerPlace("acme"))).toBe(server.smtp_url);
    await expect(unseal(keys, sealed, mailServerPlace("globex"))).rejects.toThrow("another place");
    const audit = await (await app.call("GET", "/scale/audit", { key: acme })).text();
    expect(audit).toContain("saveMailServer");
    expect(audit).not.toContain("sesame");
  });

  test("keeps its URL when a save sends the mask, and a mask without a stored URL is refused", async () => {
    const masked = { ...server, smtp_url: "********", smtp_from: "b@acme.example" };
    expect((await bodyOf(await put(masked))).errors).toEqual([
      { path: "smtp_url", message: expect.stringContaining("mask") },
    ]);
    await put(server);
    const sealed = await app.stores.sql`select smtp_url from mail_servers`;
    expect(await bodyOf(await put(masked))).toMatchObject({ smtp_from: "b@acme.example" });
    expect(await app.stores.sql`select smtp_url from mail_servers`).toEqual(sealed);
  });

  test("belongs to its tenant: another one's key does not find it", async () => {
    await put(server);
    expect((await put(server, globex)).status).toBe(404);
    for (const method of ["GET", "DELETE"])
      expect((await app.call(method, AT, { key: globex })).status).toBe(404);
    expect((await app.call("DELETE", AT, { key: acme })).status).toBe(204);
    expect((await app.call("GET", AT, { key: acme })).status).toBe(404);
  });

  test.each([
    ["http://user:canary-sesame@mail.example.com", /smtp:\/\//],
    ["smtp://", /smtp:\/\//],
    ["smtp://u:canary-sesame@mail.example.com/?tls.rejectUnauthorized=false", /nothing after/],
    ["smtp://u:canary-sesame@mail.example.com/path", /nothing after/],
    ["smtp://u:%zz@mail.example.com", /%25/],
    ["smtp://:canary-sesame@mail.example.com", /no user/],
  ])(
    "is refused with a URL that has more than an address and a login, and the error does not quote it: %s",
    async (smtp_url, message) => {
      const answer = await put({ ...server, smtp_url });
      const text = await answer.text();
      expect(answer.status).toBe(422);
      expect(JSON.parse(text).errors).toEqual([
        { path: "smtp_url", message: expect.stringMatching(message) },
      ]);
      expect(text).not.toContain("sesame");
    },
  );

  // Fails when a tenant can speak to the deployment's own network, or to another service of a public host.
  test.each([
    ["smtp://127.0.0.1:25", 403],
    ["smtp://[::1]:587", 403],
    ["smtp://169.254.169.254:25", 403],
    ["smtp://mail.example.com:6379", 403],
    ["smtp://mail.internal:10025", 200],
    ["smtps://mail.example.com", 200],
  ])("may be at an address that the operator allows, and at no other: %s is %i", async (smtp_url, status) => {
    expect((await put({ ...server, smtp_url })).status).toBe(status);
    const tested = await app.call("POST", "/scale/config/test-smtp", { body: { smtp_url } });
    expect(tested.status).toBe(status);
  });

  test("has a sender that adds no header", async () => {
    const smtp_from = "a@b.example\r\nBcc: eve@example.com";
    expect((await put({ ...server, smtp_from })).status).toBe(422);
  });
});

describe("a test of a mail server", () => {
  test("belongs to the operator, and is an error that names the reason when no worker sends mails", async () => {
    expect((await app.call("POST", "/scale/config/test-smtp", { key: acme })).status).toBe(403);
    const answer = await app.call("POST", "/scale/config/test-smtp");
    expect(await bodyOf(answer)).toEqual({ status: "error", message: "No worker runs that sends mails." });
  });

  test("takes a tenant with a mail server, or a URL, and not both", async () => {
    const body = { tenant_id: "acme" };
    expect((await app.call("POST", "/scale/config/test-smtp", { body })).status).toBe(404);
    const tenantAndUrl = { ...body, smtp_url: server.smtp_url };
    expect((await app.call("POST", "/scale/config/test-smtp", { body: tenantAndUrl })).status).toBe(422);
  });
});

const Mails = z.array(z.looseObject({ message_id: z.string(), tenant_id: z.string(), outcome: z.string() }));

describe("the list of mails", () => {
  const content = {
    to: ["ann@example.com"],
    cc: [],
    subject: "Hello",
    text: "canary-text-of-the-mail",
    html: null,
    reply_to: null,
  };
  /** Queues a mail for each name in its order, each a second after the one before. */
  async function queue(key: string, names: readonly string[]): Promise<RunId> {
    const run_id = RunId.parse(await startRun(app, { key }));
    for (const name of names) {
      const message_id = `<${name}@example.org>`;
      await queueMail(app.stores.sql, { message_id, run_id, priority: 3, send_at: null, content });
    }
    return run_id;
  }
  const list = async (query: string, key = app.platformKey) => {
    const answer = await app.call("GET", `/scale/mails${query}`, { key });
    expect(answer.status).toBe(200);
    const text = await answer.text();
    expect(text).not.toContain("canary-text");
    return { mails: Mails.parse(JSON.parse(text)), link: answer.headers.get("link") };
  };
  const ids = ({ mails }: Awaited<ReturnType<typeof list>>) => mails.map(({ message_id }) => message_id);

  test("has a tenant's mails without their texts, and none of another tenant", async () => {
    await queue(acme, ["a1"]);
    await queue(globex, ["g1"]);
    const { mails } = await list("", acme);
    expect(mails).toEqual([
      expect.objectContaining({
        message_id: "<a1@example.org>",
        tenant_id: "acme",
        outcome: "pending",
        recipients: ["ann@example.com"],
        subject: "Hello",
        priority: 3,
        failures: 0,
        refused: [],
        deferred: [],
        done_at: null,
      }),
    ]);
    expect(ids(await list("?tenant_id=globex"))).toEqual(["<g1@example.org>"]);
    expect((await app.call("GET", "/scale/mails?tenant_id=globex", { key: acme })).status).toBe(403);
    expect((await list("")).mails).toHaveLength(2);
  });

  test("is filtered by run and by outcome", async () => {
    const run = await queue(acme, ["a1", "a2"]);
    await queue(acme, ["a3"]);
    await app.stores
      .sql`update mails set outcome = 'unknown', done_at = now(), next_at = null, last_error = 'lost'
      where message_id = '<a2@example.org>'`;
    expect(ids(await list(`?run_id=${run}`)).toSorted()).toEqual(["<a1@example.org>", "<a2@example.org>"]);
    expect(ids(await list("?outcome=unknown"))).toEqual(["<a2@example.org>"]);
    expect(ids(await list(`?outcome=pending&run_id=${run}`))).toEqual(["<a1@example.org>"]);
    expect(ids(await list("?outcome=sent"))).toEqual([]);
    expect((await app.call("GET", "/scale/mails?outcome=lost")).status).toBe(422);
  });

  const close = (name: string, outcome: string) => app.stores.sql`
    update mails set outcome = ${outcome}, done_at = now(), next_at = null, failures = 3, last_error = 'lost'
    where message_id = ${`<${name}@example.org>`}`;
  const retry = (name: string, key = acme) =>
    app.call("POST", `/scale/mails/${encodeURIComponent(`<${name}@example.org>`)}/retry`, { key });

  // Fails when a mail that no server took is lost for good, or when its text has to come from the run again.
  test.each(["rejected", "unknown"])(
    "lets an operator send one that is %s again, with all its tries",
    async (outcome) => {
      await queue(acme, ["a1", "a2"]);
      await close("a1", outcome);
      const answer = await retry("a1");
      expect(answer.status).toBe(202);
      expect(await bodyOf(answer)).toMatchObject({
        message_id: "<a1@example.org>",
        outcome: "pending",
        failures: 0,
        last_error: "lost",
        done_at: null,
      });
      const claimed = await claimMails(app.stores.sql, { slots: 5, after: "", leaseMs: 60_000 });
      expect(claimed.mails.map(({ message_id }) => message_id)).toContain("<a1@example.org>");
      expect(await (await app.call("GET", "/scale/audit", { key: acme })).text()).toContain("retryMail");
    },
  );

  test("sends none again that was sent or waits, that another tenant has, or that does not exist", async () => {
    await queue(acme, ["a1", "a2", "a3"]);
    await close("a1", "sent");
    await close("a3", "rejected");
    expect((await retry("a1")).status).toBe(409);
    expect((await retry("a2")).status).toBe(409);
    expect((await retry("a3", globex)).status).toBe(404);
    expect((await retry("a4")).status).toBe(404);
    expect(ids(await list("?outcome=rejected"))).toEqual(["<a3@example.org>"]);
  });

  // Fails when a page repeats or leaves out a mail of the same instant.
  test("is paged, each mail once, also those of one instant", async () => {
    const names = Array.from({ length: 5 }, (_, i) => `p${i}`);
    await queue(acme, names);
    await queue(globex, ["g1"]);
    await app.stores.sql`update mails set created_at = '2026-01-01'`;
    const seen: string[] = [];
    let query = "?limit=2";
    for (let pages = 1; ; pages++) {
      const page = await list(query, acme);
      seen.push(...ids(page));
      const next = /<([^>]*)>; rel="next"/.exec(page.link ?? "")?.[1];
      if (next === undefined) {
        expect(pages).toBe(3);
        break;
      }
      query = new URL(next, "http://edge").search;
    }
    expect(seen).toEqual(names.map((name) => `<${name}@example.org>`).toReversed());
  });
});
