import net from "node:net";
import { createInterface } from "node:readline";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { createEgress } from "../../../worker-node/outbound/egress-guard.ts";
import { createTools } from "../../../worker-node/tools/create-tools.ts";
import { refusingFiles, refusingStore } from "../fakes.ts";

/** What the mail server does: the reply to a command, `drop`, which closes the connection, or `silence`. `dot`: the end of the message. */
let replies: { [command: string]: string };
/** The commands and lines that it has received, without those of the message. */
let received: string[];
/** The messages that it has received whole. */
let messages: string[];
let port: number;

const server = net.createServer((socket) => {
  socket.on("error", () => {});
  const answer = (command: string, otherwise: string): void => {
    const reply = replies[command] ?? otherwise;
    if (reply === "drop") socket.destroy();
    else if (reply !== "silence") socket.write(`${reply}\r\n`);
  };
  let message: string[] | null = null;
  answer("greeting", "220 ready");
  createInterface({ input: socket }).on("line", (line) => {
    if (message === null) {
      received.push(line);
      const command = line.split(/[ :]/)[0]?.toUpperCase() ?? "";
      answer(command, command === "DATA" ? "354 go on" : command === "QUIT" ? "221 bye" : "250 ok");
      if (command === "DATA" && replies["DATA"] === undefined) message = [];
    } else if (line === ".") {
      messages.push(message.join("\n"));
      message = null;
      answer("dot", "250 queued");
    } else message.push(line);
  });
});

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  ({ port } = z.object({ port: z.number() }).parse(server.address()));
});
afterAll(() => void server.close());
beforeEach(() => {
  [replies, received, messages] = [{}, [], []];
});

const mail = { to: ["ann@example.com"], subject: "Hello", text: "Line one\n.\nLine three" };

function send(
  args: JsonObject = mail,
  { effectKey = "run_1:s:1:tool.1", timeoutMs = 5_000, at = port } = {},
) {
  const settings = { url: `smtp://user:sesame@127.0.0.1:${at}`, from: "Shop <shop@example.org>" };
  return createTools({
    egress: createEgress(""),
    timeoutMs,
    masterKey: null,
    mail: settings,
    store: refusingStore,
  }).call({
    tool: { tool_type: "built_in", name: "send_email" },
    args,
    effectKey,
    signal: new AbortController().signal,
    files: refusingFiles,
  });
}

describe("send_email", () => {
  test("sends one mail from the sender of the deployment, and returns its id and who was accepted", async () => {
    const sent = await send({ ...mail, cc: ["bob@example.com"], reply_to: "desk@example.org" });
    expect(sent).toEqual({
      message_id: expect.stringMatching(/^<[0-9a-f]{40}@example\.org>$/),
      accepted: ["ann@example.com", "bob@example.com"],
      rejected: [],
    });
    const { message_id } = z.object({ message_id: z.string() }).parse(sent);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain("From: Shop <shop@example.org>");
    expect(messages[0]).toContain("To: ann@example.com");
    expect(messages[0]).toContain("Reply-To: desk@example.org");
    expect(messages[0]).toContain(`Message-ID: ${message_id}`);
    expect(messages[0]).toContain("Line one\n..\nLine three");
  });

  // Fails when a crash gives the same mail another id, or two calls the same.
  test("gives a repeated call the same id, and another call another one", async () => {
    const first = await send();
    expect(await send()).toEqual(first);
    expect(await send(mail, { effectKey: "run_1:s:1:tool.2" })).not.toEqual(first);
  });

  // Fails when a mail that the server may have taken is sent again: the error must not be one that is retried.
  test("does not repeat a mail whose outcome is unknown: the connection was lost after the final dot", async () => {
    replies = { dot: "drop" };
    await expect(send()).rejects.toMatchObject({ name: "TerminalError", code: "email_unknown" });
    expect(messages).toHaveLength(1);
  });

  test.each([
    ["before the greeting", { greeting: "drop" }],
    ["before the message", { DATA: "drop" }],
  ])("may be tried again when the connection was lost %s", async (_, lost) => {
    replies = lost;
    await expect(send()).rejects.toMatchObject({ name: "RetryableError", code: "unreachable" });
    expect(messages).toEqual([]);
  });

  test.each([
    ["refuses the recipient for good", { RCPT: "550 no such user" }, "ToolRejection", "tool_rejected"],
    ["refuses the message for good", { dot: "554 spam" }, "ToolRejection", "tool_rejected"],
    ["refuses it for now", { RCPT: "451 try later" }, "RetryableError", "email_deferred"],
    ["refuses the message for now", { dot: "452 full" }, "RetryableError", "email_deferred"],
    [
      "refuses the password",
      { EHLO: "250-hi\r\n250 AUTH PLAIN", AUTH: "535 no" },
      "TerminalError",
      "smtp_unauthorized",
    ],
  ])("says what it means when the server %s, without the password", async (_, refusal, name, code) => {
    replies = refusal;
    const failure: unknown = await send().catch((error: unknown) => error);
    expect(failure).toMatchObject({ name, code });
    expect(String(failure)).not.toContain("sesame");
  });

  test("ends at its limit with a server that is silent", async () => {
    replies = { greeting: "silence" };
    await expect(send(mail, { timeoutMs: 100 })).rejects.toMatchObject({ code: "tool_timeout" });
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
  ])("refuses wrong arguments before a connection is made: %j", async (args) => {
    await expect(send(args)).rejects.toMatchObject({ name: "ToolRejection" });
    expect(received).toEqual([]);
  });

  test("waits for a worker with a mail server where this one has none", async () => {
    const tools = createTools({
      egress: createEgress(""),
      timeoutMs: 1_000,
      masterKey: null,
      store: refusingStore,
    });
    const call = {
      tool: { tool_type: "built_in", name: "send_email" },
      args: mail,
      effectKey: "k",
      files: refusingFiles,
    };
    await expect(tools.call({ ...call, signal: new AbortController().signal })).rejects.toMatchObject({
      name: "RetryableError",
      code: "smtp_missing",
    });
  });
});
