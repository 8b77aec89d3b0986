import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LANE_DEFAULTS } from "../../../shared/contracts/lane-settings.ts";
import type { LaneSettings } from "../../../shared/contracts/lane-settings.ts";
import type { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { claimMails } from "../../../shared/store/mails/claim-mails.ts";
import { deleteMails } from "../../../shared/store/mails/delete-mails.ts";
import { endMail } from "../../../shared/store/mails/end-mail.ts";
import { retryMail } from "../../../shared/store/mails/mail-rows.ts";
import { queueMail } from "../../../shared/store/mails/queue-mail.ts";
import { saveMailTry } from "../../../shared/store/mails/save-mail-try.ts";
import { stateStore } from "../../../shared/store/state.ts";
import { Counters } from "../../../worker-node/ops/counters.ts";
import { mailServerPlace, mailTestPlace } from "../../../shared/contracts/mail-server.ts";
import { masterKey as masterKeySchema } from "../../../shared/security/master-keys.ts";
import { seal } from "../../../shared/security/seal.ts";
import { deleteMailServer, saveMailServer } from "../../../shared/store/mails/mail-servers.ts";
import { testMailServer } from "../../../worker-node/mail/test-mail-server.ts";
import type { MailServerDeps } from "../../../worker-node/mail/mail-transport.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { saveOutcome } from "../../../worker-node/outbound/save-outcome.ts";
import { MailSender } from "../../../worker-node/mail/mail-sender.ts";
import { acme, globex, openStore, saveEmptyOrchestration } from "../../shared/store/store-fixture.ts";
import { newRun } from "../../services/new-run.ts";
import { untilLockWait } from "../../services/waiting.ts";
import type { Store } from "../../shared/store/store-fixture.ts";
import { MASTER_KEY } from "../../edge/test-stores.ts";
import { freePort } from "../../../local/processes/free-ports.ts";
import { MailServer } from "./mail-server.ts";

const server = new MailServer();
const ownServer = new MailServer();
const masterKey = masterKeySchema().parse(MASTER_KEY);
let store: Store;
let senders: MailSender[] = [];
let queued = 0;
let counters: Counters;
beforeAll(async () => {
  store = await openStore();
  await saveEmptyOrchestration(store.sql, globex, "orch");
  await Promise.all([server.start(), ownServer.start()]);
});
afterAll(async () => {
  server.stop();
  ownServer.stop();
  await store.close();
});
beforeEach(async () => {
  await store.sql`truncate mails, mail_servers`;
  server.reset();
  ownServer.reset();
  senders = [];
  counters = new Counters();
});
afterEach(async () => {
  await Promise.all(senders.map((sender) => sender.drain(0)));
});

async function runOf(tenant_id: TenantId): Promise<RunId> {
  return (await store.startRun(newRun({ tenant_id }))).run_id;
}

/** Queues a mail, and returns its id. */
async function queue(
  run_id: RunId,
  { to = ["ann@example.com"], priority = 0, send_at = null as string | null } = {},
) {
  const message_id = `<m${(queued += 1)}@example.org>`;
  const content = {
    to,
    cc: [],
    subject: "Hello",
    text: "Line one\n.\nLine three",
    html: null,
    reply_to: null,
  };
  expect(await queueMail(store.sql, { message_id, run_id, priority, send_at, content })).toBe(true);
  return message_id;
}

function startSender(
  lane: Partial<LaneSettings> = {},
  deps: Partial<MailServerDeps> = {},
  state = stateStore(store.sql),
): MailSender {
  const sender = new MailSender({
    store: state,
    laneSettings: (name) => ({ ...LANE_DEFAULTS[name], starts_per_second: null, ...lane }),
    settings: { url: server.url, from: "Shop <shop@example.org>" },
    count: counters,
    egress: createEgress("127.0.0.1"),
    masterKey,
    ...deps,
  });
  senders.push(sender);
  sender.start();
  return sender;
}

const row = async (message_id: string) => {
  const [mail] = await store.sql`
    select outcome, last_error, failures, refused, deferred, sending, tries,
      extract(epoch from next_at - now())::float8 as due_in from mails where message_id = ${message_id}`;
  return mail;
};
const untilRow = (id: string, expected: object) => expect.poll(() => row(id)).toMatchObject(expected);
const claim = (slots = 10, after = "") =>
  claimMails(store.sql, { slots, after, leaseMs: 60_000, reportsEnd: true, attempts: 3 });
/** The leases of all mails that are being sent lapse, as those of workers that have died. */
const lapse = () => store.sql`update mails set next_at = now() - interval '1 second' where sending`;

describe("the sender of mails", () => {
  test("sends a due mail from the sender of the deployment, once, and no mail before its time", async () => {
    const run = await runOf(acme);
    const later = await queue(run, { send_at: new Date(Date.now() + 3_600_000).toISOString() });
    const id = await queue(run, { to: ["ann@example.com", "bob@example.com"] });
    startSender();
    await untilRow(id, { outcome: "sent", last_error: null });
    expect(server.messages).toHaveLength(1);
    expect(server.messages[0]).toContain("From: Shop <shop@example.org>");
    expect(server.messages[0]).toContain(`Message-ID: ${id}`);
    expect(server.messages[0]).toContain("Line one\n..\nLine three");
    expect(await row(later)).toMatchObject({ outcome: null, tries: 0 });
  });

  // Fails when a mail that the server may have taken is sent again.
  test("does not repeat a mail whose connection was lost after the final dot: it is unknown", async () => {
    server.replies = { dot: "drop" };
    const id = await queue(await runOf(acme));
    startSender();
    await untilRow(id, { outcome: "unknown", last_error: expect.stringContaining("email_unknown") });
    expect(server.messages).toHaveLength(1);
  });

  test.each([
    ["connection was lost before the greeting", { greeting: "drop" }, "unreachable"],
    ["connection was lost before the message", { DATA: "drop" }, "unreachable"],
    ["recipient is refused for now", { RCPT: "451 later" }, "email_deferred"],
    ["message is refused for now", { dot: "452 full" }, "email_deferred"],
    ["password is refused", { EHLO: "250-hi\r\n250 AUTH PLAIN", AUTH: "535 no" }, "smtp_unauthorized"],
    ["login is refused for now", { EHLO: "250-hi\r\n250 AUTH PLAIN", AUTH: "454 later" }, "email_deferred"],
  ])("tries again after 60 s when the %s, without the password in the error", async (_, replies, error) => {
    server.replies = replies;
    const id = await queue(await runOf(acme));
    startSender();
    await untilRow(id, {
      outcome: null,
      failures: 1,
      sending: false,
      last_error: expect.stringContaining(error),
    });
    const mail = await row(id);
    expect(mail?.["due_in"]).toBeGreaterThan(50);
    expect(JSON.stringify(mail)).not.toContain("sesame");
  });

  test("gives up after the attempts of its lane, and at once after a permanent refusal of the server", async () => {
    server.replies = { RCPT: "451 later" };
    const run = await runOf(acme);
    const id = await queue(run);
    startSender({ attempts: 2, first_backoff_seconds: 0 });
    await untilRow(id, {
      outcome: "rejected",
      failures: 2,
      last_error: expect.stringContaining("try 2 of 2"),
    });
    server.replies = { RCPT: "550 no such user" };
    const refused = await queue(run);
    senders[0]?.wake();
    await untilRow(refused, { outcome: "rejected", failures: 1, last_error: expect.stringContaining("550") });
  });

  // Fails when a recipient whose server defers the mail never gets it, or the others get it twice.
  test("sends the mail again to the recipients for whom the server did not take it yet, and to no other", async () => {
    const [bob, cat] = ["RCPT TO:<bob@example.com>", "RCPT TO:<cat@example.com>"];
    server.replies = { [bob]: "450 later", [cat]: "550 no such user" };
    const id = await queue(await runOf(acme), {
      to: ["ann@example.com", "bob@example.com", "cat@example.com"],
    });
    const sender = startSender();
    await untilRow(id, {
      outcome: null,
      failures: 1,
      sending: false,
      last_error: expect.stringContaining("for 1 of its recipients now (450)"),
      refused: JSON.stringify(["bob@example.com", "cat@example.com"]),
      deferred: JSON.stringify(["bob@example.com"]),
    });
    expect(server.messages).toHaveLength(1);
    server.received.length = 0;
    // A failure in between forgets no recipient.
    server.replies = { greeting: "drop" };
    const dueNow = async () => {
      await store.sql`update mails set next_at = now() where message_id = ${id}`;
      sender.wake();
    };
    await dueNow();
    await untilRow(id, { outcome: null, failures: 2, sending: false });
    server.replies = { [cat]: "550 no such user" };
    await dueNow();
    await untilRow(id, { outcome: "sent", refused: JSON.stringify(["cat@example.com"]), deferred: null });
    expect(server.received.filter((line) => line.startsWith("RCPT"))).toEqual([bob]);
    expect(server.messages[1]).toContain("To: ann@example.com, bob@example.com, cat@example.com");
  });

  // Fails when nobody can see which recipient a later mail may reach, and which none.
  test("tells recipients for whom the server does not take a mail to the end from those that it refuses, and lists the mail as sent", async () => {
    const [bob, cat] = ["RCPT TO:<bob@example.com>", "RCPT TO:<cat@example.com>"];
    server.replies = { [bob]: "450 later", [cat]: "450 later" };
    const id = await queue(await runOf(acme), {
      to: ["ann@example.com", "bob@example.com", "cat@example.com"],
    });
    const sender = startSender({ attempts: 2 });
    await untilRow(id, { outcome: null, failures: 1, sending: false });
    server.replies = { [bob]: "450 later", [cat]: "550 no such user" };
    await store.sql`update mails set next_at = now() where message_id = ${id}`;
    sender.wake();
    await untilRow(id, {
      outcome: "sent",
      failures: 2,
      refused: JSON.stringify(["bob@example.com", "cat@example.com"]),
      deferred: JSON.stringify(["bob@example.com"]),
      last_error: expect.stringContaining("try 2 of 2"),
    });
    expect(server.messages).toHaveLength(1);
  });

  // Fails when a container greets servers with an address: Google's relay closes such a connection.
  test("greets the server with the domain of the sender, in ASCII, or with the name of SMTP_URL", async () => {
    const run = await runOf(acme);
    const greetingOf = async (settings: { url: string; from: string }) => {
      server.reset();
      const id = await queue(run);
      const sender = startSender({}, { settings });
      await untilRow(id, { outcome: "sent" });
      await sender.drain(0);
      return server.received[0];
    };
    expect(await greetingOf({ url: server.url, from: "Shop <shop@example.org>" })).toBe("EHLO example.org");
    expect(await greetingOf({ url: server.url, from: "shop@müller.example" })).toBe(
      "EHLO xn--mller-kva.example",
    );
    expect(await greetingOf({ url: `${server.url}?name=mx.acme.example`, from: "shop@example.org" })).toBe(
      "EHLO mx.acme.example",
    );
  });

  // Fails when a worker that was stopped for longer than its lease ends a message that another worker sends too.
  test("does not end a message whose lease has lapsed", async () => {
    const id = await queue(await runOf(acme));
    const state = stateStore(store.sql);
    const before: string[] = [];
    const endMailOf: typeof state.endMail = async (mail) => {
      before.push(...server.received);
      await store.sql`update mails set tries = tries + 1 where message_id = ${id}`;
      return state.endMail(mail);
    };
    startSender({}, {}, { ...state, endMail: endMailOf });
    await expect
      .poll(() => counters.list())
      .toContainEqual(expect.objectContaining({ labels: { outcome: "superseded" } }));
    expect(before).toContain("DATA");
    expect(server.messages).toEqual([]);
  });

  // Fails when a mail that was sent becomes unknown because Postgres was away for some seconds.
  test("saves the outcome of a mail as soon as Postgres takes it", async () => {
    let passedMs = 0;
    const pause = async (ms: number): Promise<void> => void (passedMs += ms);
    const save = async (): Promise<string> => {
      if (passedMs < 60_000) throw new Error("away");
      return "sent";
    };
    expect(await saveOutcome(save, () => {}, pause)).toBe("sent");
    expect(passedMs).toBeLessThan(65_000);
  });

  // Fails when a stopped worker leaves a mail in its lease: it would become unknown, although nothing was sent.
  test("gives back what it has not sent when it is stopped", async () => {
    server.replies = { greeting: "silence" };
    const id = await queue(await runOf(acme));
    const sender = startSender();
    await untilRow(id, { sending: true });
    await sender.drain(0);
    expect(await row(id)).toMatchObject({ outcome: null, sending: false, failures: 0 });
    expect((await row(id))?.["due_in"]).toBeLessThanOrEqual(0);
  });
});

describe("a queued mail", () => {
  test("is queued once, however often its call is repeated, for the tenant of its run", async () => {
    const run = await runOf(acme);
    const mail = {
      message_id: "<same@example.org>",
      run_id: run,
      priority: 0,
      send_at: null,
      content: { to: ["a@example.com"], cc: [], subject: "s", text: "a\0b", html: null, reply_to: null },
    };
    expect(await queueMail(store.sql, mail)).toBe(true);
    expect(await queueMail(store.sql, mail)).toBe(true);
    expect(await store.sql`select tenant_id from mails`).toEqual([{ tenant_id: acme }]);
  });

  // Fails when a tenant with many mails takes all slots, or the priority counts among tenants.
  test("is claimed with tenants in turn, and within a tenant by priority", async () => {
    const [ofAcme, ofGlobex] = [await runOf(acme), await runOf(globex)];
    const low = await Promise.all(Array.from({ length: 5 }, () => queue(ofAcme, { priority: 5 })));
    const high = await queue(ofAcme, { priority: 9 });
    const other = await queue(ofGlobex);
    const first = (await claim(2)).mails.map(({ message_id }) => message_id);
    expect(first.toSorted()).toEqual([high, other].toSorted());
    expect(low).toContain((await claim(1)).mails[0]?.message_id);
  });

  test("is claimed by one of several claims at once", async () => {
    const run = await runOf(acme);
    const queuedIds = await Promise.all(Array.from({ length: 10 }, () => queue(run)));
    const claims = await Promise.all([claim(), claim(), claim()]);
    const ids = claims.flatMap(({ mails }) => mails.map(({ message_id }) => message_id));
    expect(ids.toSorted()).toEqual(queuedIds.toSorted());
  });

  // Fails when a death, or a lost reply of a claim, costs a mail of which the server certainly has not the end.
  test("whose worker died before the end of the message is due again, as after a failed try", async () => {
    const id = await queue(await runOf(acme));
    const [mail] = (await claim()).mails;
    await lapse();
    expect((await claim()).mails).toEqual([]);
    expect(await row(id)).toMatchObject({ outcome: null, failures: 1, sending: false });
    expect(await endMail(store.sql, { message_id: id, tries: mail?.tries ?? 0 })).toBe(false);
    startSender();
    await untilRow(id, { outcome: "sent", failures: 1 });
    expect(server.messages).toHaveLength(1);
  });

  test("whose workers died in each try that its lane allows is rejected", async () => {
    const id = await queue(await runOf(acme));
    await store.sql`update mails set failures = 2`;
    expect((await claim()).mails).toHaveLength(1);
    await lapse();
    expect((await claim()).mails).toEqual([]);
    expect(await row(id)).toMatchObject({
      outcome: "rejected",
      failures: 3,
      last_error: expect.stringContaining("died"),
    });
  });

  // Fails when a worker that died after the end of the message makes the mail due again.
  test("whose worker died after the end of the message has the outcome unknown until that worker says another", async () => {
    const id = await queue(await runOf(acme));
    const [mail] = (await claim()).mails;
    const { tries = 0 } = mail ?? {};
    expect(await endMail(store.sql, { message_id: id, tries })).toBe(true);
    await lapse();
    expect((await claim()).mails).toEqual([]);
    expect(await row(id)).toMatchObject({ outcome: "unknown", last_error: expect.stringContaining("died") });
    const late = {
      message_id: id,
      tries,
      failed: false,
      retry_ms: 0,
      error: null,
      refused: [],
      deferred: [],
    };
    expect(await saveMailTry(store.sql, { ...late, outcome: null })).toBe("superseded");
    expect(await saveMailTry(store.sql, { ...late, tries: tries - 1, outcome: "sent" })).toBe("superseded");
    expect(await saveMailTry(store.sql, { ...late, outcome: "sent" })).toBe("sent");
    expect(await row(id)).toMatchObject({ outcome: "sent", last_error: null });
  });

  // Fails when the claim that ends a lease decides by what it read before the report: the mail would be sent twice.
  test("whose end is reported at the moment at which its lease is ended is not due again", async () => {
    const id = await queue(await runOf(acme));
    const [mail] = (await claim()).mails;
    await lapse();
    const reporting = await store.sql.reserve();
    await reporting`begin`;
    expect(await endMail(reporting, { message_id: id, tries: mail?.tries ?? 0 })).toBe(true);
    const ending = claim();
    await untilLockWait(store.sql);
    await reporting`commit`;
    reporting.release();
    await ending;
    await claim();
    expect(await row(id)).toMatchObject({ outcome: "unknown", sending: false });
  });

  // Fails when a worker that does not report the end of a message makes a mail due that it may have sent.
  test("of a worker of an earlier version is unknown when that worker has died", async () => {
    const id = await queue(await runOf(acme));
    const [mail] = (await claimMails(store.sql, { slots: 1, after: "", leaseMs: 60_000 })).mails;
    expect(mail?.reports_end).toBe(false);
    await lapse();
    await claim();
    expect(await row(id)).toMatchObject({ outcome: "unknown", failures: 0 });
  });

  // Fails when what a worker has recorded of its try counts for a later try of a worker that records nothing.
  test("of a worker of an earlier version is unknown also after a try that was recorded", async () => {
    const ids = [await queue(await runOf(acme)), await queue(await runOf(acme))];
    const again = { outcome: null, failed: false, retry_ms: 0, error: null, refused: [], deferred: [] };
    const [first] = (await claim()).mails;
    if (first) await saveMailTry(store.sql, { ...again, message_id: first.message_id, tries: first.tries });
    await lapse();
    await claim(1, "zz");
    // As the statement of the earlier version claims.
    await store.sql`update mails set tries = tries + 1, sending = true`;
    await lapse();
    await claim(1, "zz");
    expect(await Promise.all(ids.map(row))).toMatchObject([{ outcome: "unknown" }, { outcome: "unknown" }]);
  });

  // Fails when what a dead worker has recorded counts for a try after an operator's retry: the mail would be sent twice.
  test("of a worker of an earlier version is unknown also after a retry of a mail whose recording worker died", async () => {
    const id = await queue(await runOf(acme));
    await claim();
    // As the statements of the earlier version end the lease, and claim.
    await store.sql`update mails set outcome = 'unknown', done_at = now(), next_at = null, sending = false`;
    expect(await retryMail(store.sql, acme, id)).toMatchObject({ outcome: null });
    await store.sql`update mails set tries = tries + 1, sending = true`;
    await lapse();
    await claim(1, "zz");
    expect(await row(id)).toMatchObject({ outcome: "unknown" });
  });

  test("is deleted when its lane keeps it no longer: sent ones after a day, others after seven", async () => {
    const run = await runOf(acme);
    const [sent, rejected, pending] = [await queue(run), await queue(run), await queue(run)];
    await store.sql`
      update mails set outcome = case when message_id = ${sent} then 'sent' else 'rejected' end, next_at = null, done_at = now() - interval '2 days',
        created_at = now() - interval '2 days' where message_id in (${sent}, ${rejected})`;
    expect(await deleteMails(store.sql)).toBe(false);
    const left = await store.sql`select message_id from mails order by created_at`;
    expect(left.map(({ message_id }) => message_id)).toEqual([rejected, pending]);
  });
});

describe("a tenant with a mail server of its own", () => {
  const saveOwnServer = async (url = ownServer.url, sealedFor = mailServerPlace(acme)) =>
    saveMailServer(store.sql, acme, await seal(masterKey, url, sealedFor), "Acme <post@acme.example>");

  test("sends its mails through it and from its sender, another tenant through the operator's", async () => {
    await saveOwnServer();
    const [acmes, others] = [await queue(await runOf(acme)), await queue(await runOf(globex))];
    startSender();
    await untilRow(acmes, { outcome: "sent" });
    await untilRow(others, { outcome: "sent" });
    expect(ownServer.messages).toEqual([expect.stringContaining("From: Acme <post@acme.example>")]);
    expect(server.messages).toEqual([expect.stringContaining("From: Shop <shop@example.org>")]);
  });

  test("needs no mail server of the operator; a worker without one leaves the mails of other tenants", async () => {
    const [others, acmes] = [await queue(await runOf(globex)), await queue(await runOf(acme))];
    await saveOwnServer();
    startSender({}, { settings: null });
    await untilRow(acmes, { outcome: "sent" });
    expect(await row(others)).toMatchObject({ outcome: null, tries: 0 });
  });

  test("goes back to the operator's server when its own is deleted", async () => {
    await saveOwnServer();
    await deleteMailServer(store.sql, acme);
    const id = await queue(await runOf(acme));
    startSender();
    await untilRow(id, { outcome: "sent" });
    expect([ownServer.messages.length, server.messages.length]).toEqual([0, 1]);
  });

  // Fails when a server that is silent takes the slots of all tenants.
  test("has two mails open at a time", async () => {
    await saveOwnServer();
    const run = await runOf(acme);
    await queue(await runOf(globex));
    for (let i = 0; i < 5; i++) await queue(run);
    const { mails } = await claim();
    expect(mails.map(({ tenant_id }) => tenant_id).toSorted()).toEqual([acme, acme, globex]);
    expect((await claim()).mails).toEqual([]);
    const [first] = mails.filter(({ tenant_id }) => tenant_id === acme);
    const { message_id = "", tries = 0 } = first ?? {};
    const sent = {
      outcome: "sent" as const,
      failed: false,
      retry_ms: 0,
      error: null,
      refused: [],
      deferred: [],
    };
    await saveMailTry(store.sql, { message_id, tries, ...sent });
    expect((await claim()).mails).toHaveLength(1);
  });

  // Fails when a tenant's mail server may be in the deployment's own network.
  test("may not be in the operator's network", async () => {
    await saveOwnServer();
    const id = await queue(await runOf(acme));
    startSender({}, { egress: createEgress("") });
    await untilRow(id, { outcome: "rejected", last_error: expect.stringContaining("egress_blocked") });
    expect(ownServer.received).toEqual([]);
  });

  test("whose URL does not open here leaves the mail to another worker", async () => {
    await saveOwnServer(ownServer.url, mailServerPlace(globex));
    const id = await queue(await runOf(acme));
    startSender();
    const last_error = expect.stringContaining("smtp_sealed");
    await untilRow(id, { outcome: null, failures: 0, sending: false, last_error });
    expect([...ownServer.received, ...server.received]).toEqual([]);
  });

  // Fails when a server that quotes what it was sent writes the password into the list of mails.
  test("does not see its password in an error", async () => {
    await saveOwnServer();
    const login = Buffer.from("sesame").toString("base64");
    ownServer.replies = { MAIL: `550 no mail of sesame ${login}` };
    const id = await queue(await runOf(acme));
    startSender();
    await untilRow(id, { outcome: "rejected", last_error: expect.stringContaining("email_refused") });
    const { last_error } = (await row(id)) ?? {};
    expect(last_error).not.toMatch(new RegExp(`sesame|${login}`));
  });
});

describe("a test of a mail server", () => {
  const question = "0".repeat(32);
  const outcomeOf = async (url: string, deps: Partial<MailServerDeps> = {}) => {
    const sealed = await seal(masterKey, url, mailTestPlace(question));
    const all = { settings: null, egress: createEgress("127.0.0.1"), masterKey, ...deps };
    return testMailServer({ tenant: null, sealed }, question, all);
  };

  test("reports that the server accepted the login, and sends no mail", async () => {
    server.replies = { EHLO: "250 AUTH PLAIN", AUTH: "235 ok" };
    expect(await outcomeOf(server.url)).toMatchObject({ status: "ok" });
    expect(server.received.join()).toContain("AUTH PLAIN");
    expect(server.received.join()).not.toMatch(/MAIL|DATA/);
  });

  test.each([
    [{ AUTH: "535 sesame is wrong", EHLO: "250 AUTH PLAIN" }, "The mail server refused the login."],
    [{ greeting: "drop" }, "The mail server cannot be reached, or closed the connection."],
    [{ greeting: "554 go away" }, "The mail server answered 554."],
  ])("reports what is wrong without the text of the server: %j", async (replies, message) => {
    server.replies = { ...replies };
    expect(await outcomeOf(server.url)).toEqual({ status: "error", message });
  });

  // Fails when a wrong scheme or port looks like an outage.
  test("says that the port is not encrypted from the first byte, and that a host refuses the connection", async () => {
    const smtps = await outcomeOf(server.url.replace("smtp:", "smtps:"));
    expect(smtps.message).toContain("write smtp://, and smtps:// for port 465");
    const closed = await outcomeOf(`smtp://127.0.0.1:${await freePort(0)}`);
    expect(closed).toEqual({ status: "error", message: "The host refused the connection." });
  });

  test("does not reach the operator's network, nor open what was sealed for another question", async () => {
    expect(await outcomeOf(server.url, { egress: createEgress("") })).toMatchObject({
      status: "error",
      message: expect.stringContaining("EGRESS_ALLOW"),
    });
    const sealed = await seal(masterKey, server.url, mailTestPlace("1".repeat(32)));
    const deps = { settings: null, egress: createEgress("127.0.0.1"), masterKey };
    expect(await testMailServer({ tenant: null, sealed }, question, deps)).toMatchObject({ status: "error" });
    expect(server.received).toEqual([]);
  });

  test("without a URL tests the worker's own server", async () => {
    const deps = { settings: null, egress: createEgress(""), masterKey: null };
    expect(await testMailServer(null, question, deps)).toEqual({
      status: "error",
      message: "The worker has no mail server: set its SMTP_URL and SMTP_FROM, or name a server in smtp_url.",
    });
    const settings = { url: server.url, from: "a@example.org" };
    expect(await testMailServer(null, question, { ...deps, settings })).toMatchObject({ status: "ok" });
  });
});
