import { beforeEach, describe, expect, test } from "vitest";
import { newRunId } from "../../../shared/contracts/ids.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { NewMail } from "../../../shared/contracts/mail.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import type { Outbox } from "../../../worker-node/tools/built-in/send-email.ts";
import { refusingFiles, refusingStore } from "../fakes.ts";
import { TenantId } from "../../../shared/contracts/ids.ts";

const acme = TenantId.parse("acme");

const run = newRunId(Date.now());
const mail = { to: ["ann@example.com"], subject: "Hello", text: "Line one" };
let queued: NewMail[];
let queueReply: boolean | Error;
beforeEach(() => {
  [queued, queueReply] = [[], true];
});

const outbox: Outbox = {
  senderOf: async () => "Shop <shop@example.org>",
  queue: async (each) => {
    if (queueReply instanceof Error) throw queueReply;
    if (queueReply) queued.push(each);
    return queueReply;
  },
};

function send(
  args: JsonObject = mail,
  { effectKey = `${run}:s:1:tool.1`, to = outbox }: { effectKey?: string; to?: Outbox } = {},
) {
  const tools = createTools({
    egress: createEgress(""),
    timeoutMs: 120_000,
    masterKey: null,
    mail: to,
    store: refusingStore,
  });
  return tools.call({
    tenantId: acme,
    tool: { tool_type: "built_in", name: "send_email" },
    args,
    effectKey,
    signal: new AbortController().signal,
    files: refusingFiles,
  });
}

describe("send_email", () => {
  test("queues one mail for its run, and returns its id at once", async () => {
    const send_at = new Date(Date.now() + 60_000).toISOString();
    const sent = await send({
      ...mail,
      to: "ann@example.com",
      cc: ["bob@example.com"],
      priority: 7,
      send_at,
    });
    const message_id = expect.stringMatching(/^<[0-9a-f]{40}@example\.org>$/);
    expect(sent).toEqual({ message_id, status: "queued", send_at });
    const content = {
      to: ["ann@example.com"],
      cc: ["bob@example.com"],
      subject: "Hello",
      text: "Line one",
      html: null,
      reply_to: null,
    };
    expect(queued).toEqual([{ message_id, run_id: run, priority: 7, send_at, content }]);
  });

  // Fails when a crash gives the same mail another id, or two calls the same.
  test("gives a repeated call the same id, and another call another one", async () => {
    const first = await send();
    expect(await send()).toEqual(first);
    expect(await send(mail, { effectKey: `${run}:s:1:tool.2` })).not.toEqual(first);
  });

  test("takes a domain with other letters than ASCII, as mail servers take it", async () => {
    await send({ ...mail, to: "info@müller.example", reply_to: "post@例え.example" });
    expect(queued[0]?.content).toMatchObject({
      to: ["info@xn--mller-kva.example"],
      reply_to: "post@xn--r8jz45g.example",
    });
  });

  // Fails when the model reads only that something is wrong.
  test.each([
    [{ ...mail, to: ["ann@example.com", "nobody"] }, "to[1]"],
    [{ ...mail, to: "Ann <ann@example.com>" }, "to[0]"],
    [{ ...mail, cc: "jörg@example.com" }, "cc[0]"],
  ])("says which address is wrong: %j", async (args, at) => {
    await expect(send(args)).rejects.toThrow(`must be an address such as ann@example.com\n  → at ${at}`);
  });

  // Fails when a domain is looked for in all of a long text: 100,000 letters held the process for eight seconds.
  test("refuses an address that is too long before it reads a domain in it", async () => {
    const to = `ann@${"é".repeat(100_000)} `;
    await expect(send({ ...mail, to })).rejects.toThrow("must have at most 320 characters\n  → at to[0]");
  });

  // Fails when an argument can add a header or a recipient.
  test.each([
    [{ ...mail, subject: "Hello\r\nBcc: eve@example.com" }],
    [{ ...mail, to: ["ann@example.com\r\nRCPT TO:<eve@example.com>"] }],
    [{ ...mail, to: ["ann@example.com, eve@example.com"] }],
    [{ ...mail, to: [] }],
    [{ ...mail, to: Array.from({ length: 51 }, (_, i) => `a${i}@example.com`) }],
    [{ to: ["ann@example.com"], subject: "Hello" }],
    [{ ...mail, from: "eve@example.com", to: "nobody" }],
    [{ ...mail, priority: 11 }],
    [{ ...mail, send_at: "tomorrow" }],
    [{ ...mail, send_at: new Date(Date.now() + 400 * 86_400_000).toISOString() }],
  ])("refuses wrong arguments, and queues nothing: %j", async (args) => {
    await expect(send(args)).rejects.toMatchObject({ name: "ToolRejection", code: "tool_rejected" });
    expect(queued).toEqual([]);
  });

  test("is rejected while too many mails wait", async () => {
    queueReply = false;
    await expect(send()).rejects.toMatchObject({ name: "ToolRejection", code: "mail_queue_full" });
  });

  test("is tried again when Postgres cannot be reached", async () => {
    queueReply = new Error("away");
    await expect(send()).rejects.toMatchObject({ name: "RetryableError", code: "mail_not_queued" });
  });

  test("is tried again when the sender cannot be read", async () => {
    const senderOf = () => Promise.reject(new Error("away"));
    await expect(send(mail, { to: { ...outbox, senderOf } })).rejects.toMatchObject({
      code: "mail_not_queued",
    });
  });

  test("waits for a mail server where neither its tenant nor this worker has one", async () => {
    await expect(send(mail, { to: { ...outbox, senderOf: async () => null } })).rejects.toMatchObject({
      name: "RetryableError",
      code: "smtp_missing",
    });
  });
});
