import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { ChatReply } from "../../../shared/contracts/chat.ts";
import { newIncarnation, RunId, SessionId } from "../../../shared/contracts/ids.ts";
import { claimRuns } from "../../../shared/store/runs/claim-runs.ts";
import { readChatHistory } from "../../../shared/store/chat/messages.ts";
import { wakeTurns } from "../../../shared/store/chat/turn-order.ts";
import { pgArray } from "../../../shared/store/sql.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { bodyOf, runPath, startApp } from "../app.ts";
import type { CallOptions, TestApp } from "../app.ts";
import { FakeWorker, eventTypesOf } from "../fake-workers.ts";

const MIB = 1024 * 1024;
const PNG_SIGNATURE = Buffer.from("89504e470d0a1a0a00", "hex").toString("base64");
const PNG = `data:image/png;base64,${PNG_SIGNATURE}`;
const Turn = z.object({ session_id: SessionId, turn_id: RunId, status: z.string() }).loose();

let app: TestApp;
let acme: string;
let globex: string;
beforeAll(async () => {
  app = await startApp();
  [acme, globex] = [await app.stores.key("acme"), await app.stores.key("globex")];
  for (const [id, name, key] of [
    ["helper", "Helper", undefined],
    ["acmes", "Aaron", acme],
  ] as const) {
    const saved = await app.call("PUT", `/api/v2/agents/${id}`, {
      body: { name, system_prompt: "help" },
      ...(key && { key }),
    });
    if (!saved.ok) throw new Error(await saved.text());
  }
});
afterAll(() => app.stop());

const post = (body: JsonObject, options: CallOptions = {}) =>
  app.call("POST", "/api/v2/chat", { body, ...options });
const get = (session: string, rest: string, options: CallOptions = {}) =>
  app.call("GET", `/api/v2/chat/${session}/${rest}`, options);

async function sendMessage(body: JsonObject, options: CallOptions = {}) {
  const response = await post({ agent: "helper", ...body }, options);
  if (response.status !== 202) throw new Error(`POST returned ${response.status}: ${await response.text()}`);
  const turn = Turn.parse(await response.json());
  await app.settled();
  return turn;
}

/** Claims the turn as a worker and completes it, with this answer in the history. */
async function answer(
  turn: z.infer<typeof Turn>,
  content: string,
  shown: Partial<Pick<ChatReply, "tool_calls" | "cut">> = {},
): Promise<void> {
  const worker = await FakeWorker.claim(app.stores.sql, turn.turn_id);
  const reply = { session: turn.session_id, content, tool_calls: [], cut: false, ...shown };
  const output = JSON.stringify({ status: "completed", checkpoint: null, response: content, error: null });
  await worker.write({
    kind: "end",
    step_path: null,
    output,
    status: "completed",
    reply,
    events: '{"type":"done","ts":""}',
  });
}

const failsWith = async (response: Response) => [response.status, (await bodyOf(response))["code"]];

describe("a chat turn", () => {
  // Fails when the answer has other fields than the predecessor's clients read.
  test("answers with its session, its turn and exactly the URL of the stream", async () => {
    const turn = await sendMessage({ message: "Summarize\n our sales", session_id: null });
    expect(turn).toEqual({
      session_id: expect.stringMatching(/^sess_[0-9a-f]{16}$/),
      turn_id: expect.stringMatching(/^run_/),
      status: "queued",
      stream_url: `/api/v2/chat/${turn.session_id}/stream`,
      status_url: `/api/v2/chat/${turn.session_id}/status`,
    });
    expect(await bodyOf(await get(turn.session_id, "status"))).toMatchObject({
      session_id: turn.session_id,
      agent_id: "helper",
      status: "queued",
      title: "Summarize our sales",
      messages: [{ role: "user", content: "Summarize\n our sales", turn_id: turn.turn_id }],
      worker_id: null,
    });
    const run = await bodyOf(await app.call("GET", runPath(turn.turn_id, "status")));
    expect(run).toMatchObject({ session_id: turn.session_id, orchestration_id: "chat:helper" });
  });

  test("uses the first agent by name when the request names none, and is a 404 for an unknown agent or session", async () => {
    const turn = Turn.parse(await (await post({ message: "hi" }, { key: acme })).json());
    expect(await bodyOf(await get(turn.session_id, "status", { key: acme }))).toMatchObject({
      agent_id: "acmes",
    });
    expect(await failsWith(await post({ message: "hi", agent: "nobody" }))).toEqual([404, "not_found"]);
    for (const session_id of ["sess_0123456789abcdef", "mine"]) {
      expect(await failsWith(await post({ message: "hi", session_id }))).toEqual([404, "not_found"]);
    }
    const other = await post({ message: "hi", session_id: turn.session_id, agent: "helper" }, { key: acme });
    expect(await failsWith(other)).toEqual([422, "invalid"]);
  });

  test("with Prefer: wait has the result when it ends in time, else the 202", async () => {
    const late = await post({ message: "hi", agent: "helper" }, { headers: { prefer: "wait=0" } });
    expect([late.status, late.headers.get("preference-applied")]).toEqual([202, "wait=0"]);
    const held = post(
      { message: "hi", agent: "helper", correlation_id: "held" },
      { headers: { prefer: "wait=60" } },
    );
    const find = () => app.stores.sql`select run_id from runs where correlation_id = 'held'`;
    await expect.poll(async () => (await find()).length).toBe(1);
    const turn = RunId.parse((await find())[0]?.["run_id"]);
    await app.call("POST", runPath(turn, "cancel"));
    expect((await held).status).toBe(200);
    expect(await bodyOf(await held)).toMatchObject({ run_id: turn, turn_id: turn, status: "cancelled" });
    const wrong = await post({ message: "hi", agent: "helper" }, { headers: { prefer: "wait=99" } });
    expect(await failsWith(wrong)).toEqual([422, "invalid"]);
  });

  test("of a session whose agent was deleted is a 404 that names the agent", async () => {
    await app.call("PUT", "/api/v2/agents/brief", { body: { name: "Brief", system_prompt: "help" } });
    const { session_id } = await sendMessage({ message: "hi", agent: "brief" });
    await app.call("DELETE", "/api/v2/agents/brief");
    const next = await post({ message: "and?", session_id });
    expect(next.status).toBe(404);
    expect((await bodyOf(next))["detail"]).toMatch(/agent brief of this session was deleted/);
  });

  // Fails when a client that repeats a request after a lost response learns that the agent is gone, and not that its turn was accepted.
  test("with an Idempotency-Key is answered as before also when its agent was deleted meanwhile", async () => {
    await app.call("PUT", "/api/v2/agents/gone", { body: { name: "Gone", system_prompt: "help" } });
    const headers = { "idempotency-key": "chat-gone" };
    const sent = { message: "hi", agent: "gone" };
    const first = await post(sent, { headers });
    expect(first.status).toBe(202);
    await app.call("DELETE", "/api/v2/agents/gone");
    const repeated = await post(sent, { headers });
    expect([repeated.status, repeated.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
    expect(await bodyOf(repeated)).toEqual(await bodyOf(first));
    const other = await post({ ...sent, message: "other" }, { headers });
    expect(await failsWith(other)).toEqual([409, "idempotency_conflict"]);
    const fresh = await post(sent, { headers: { "idempotency-key": "chat-fresh" } });
    expect(await failsWith(fresh)).toEqual([404, "not_found"]);
  });

  test("is refused with the field that is wrong", async () => {
    const wrong: [JsonObject, string][] = [
      [{}, "message"],
      [{ message: " " }, "message"],
      [{ message: "a\0b" }, "message"],
      [{ message: "hi", images: Array.from({ length: 6 }, () => PNG) }, "images"],
      [{ message: "hi", images: ["https://example.com/a.png"] }, "images[0]"],
      [{ message: "hi", images: ["data:image/svg+xml;base64,AAAA"] }, "images[0]"],
      [{ message: "hi", on_busy: "wait" }, "on_busy"],
      [{ message: "hi", attachments: ["a"] }, "attachments[0]"],
      [{ message: "hi", tenant: "acme" }, "tenant"],
    ];
    for (const [body, path] of wrong) {
      const refused = await post(body);
      const { errors } = z
        .object({ errors: z.array(z.object({ path: z.string() })) })
        .parse(await refused.json());
      expect([refused.status, errors[0]?.path]).toEqual([422, path]);
    }
  });

  test("has each image under the type that its bytes have, and the error names that type", async () => {
    const bytesOf = {
      png: "89504e470d0a1a0a",
      jpeg: "ffd8ffe0",
      gif: "474946383961",
      webp: "524946460000000057454250",
    };
    for (const [type, hex] of Object.entries(bytesOf)) {
      const data = Buffer.from(`${hex}00`, "hex").toString("base64");
      const uri = (named: string) => ({ message: "hi", images: [`data:image/${named};base64,${data}`] });
      expect([type, (await post(uri(type))).status]).toEqual([type, 202]);
      const refused = await bodyOf(await post(uri(type === "png" ? "gif" : "png")));
      const message = `holds an image of another type: send it as data:image/${type};base64,…`;
      expect(refused.errors).toEqual([{ path: "images[0]", message }]);
    }
    const none = await bodyOf(await post({ message: "hi", images: ["data:image/png;base64,AAAA"] }));
    expect(none.errors).toEqual([{ path: "images[0]", message: "holds no PNG, JPEG, GIF or WebP image" }]);
  });

  test("may have images of 10 MiB together, and any other body 1 MiB", async () => {
    const image = (bytes: number) => `${PNG}${"A".repeat(bytes)}`;
    expect((await post({ agent: "helper", message: "", images: [image(4 * MIB)] })).status).toBe(202);
    expect((await post({ message: "", images: [image(11 * MIB)] })).status).toBe(413);
    const run = { message: "a".repeat(MIB) };
    expect((await app.call("POST", "/api/v2/orchestrations/orch_smoke/run", { body: run })).status).toBe(413);
  });

  test("with an Idempotency-Key is accepted once, also without a session", async () => {
    const headers = { "idempotency-key": "chat-1" };
    const [first, repeated] = [
      await sendMessage({ message: "once" }, { headers }),
      await sendMessage({ message: "once" }, { headers }),
    ];
    expect(repeated).toEqual(first);
    const other = await post({ agent: "helper", message: "other" }, { headers });
    expect(await failsWith(other)).toEqual([409, "idempotency_conflict"]);
  });

  // Fails when the fingerprint depends on how the request spells a turn, and not on the turn alone.
  test("with an Idempotency-Key is the same request with null, or a default written out, for an absent field", async () => {
    const headers = { "idempotency-key": "chat-spelling" };
    const first = await sendMessage({ message: "same" }, { headers });
    const allNull = { session_id: null, priority: null, images: null, attachments: [], correlation_id: null };
    for (const spelling of [
      allNull,
      { metadata: {}, on_busy: "enqueue" },
      { metadata: null, on_busy: null, webhook_url: null, session_id: "" },
    ]) {
      expect(await sendMessage({ message: "same", ...spelling }, { headers })).toEqual(first);
    }
    for (const other of [{ on_busy: "interrupt" }, { metadata: { a: 1 } }, { correlation_id: "c" }]) {
      const refused = await post({ agent: "helper", message: "same", ...other }, { headers });
      expect([other, await failsWith(refused)]).toEqual([other, [409, "idempotency_conflict"]]);
    }
  });

  test("counts as a queued run, and is admitted by the same limits as other runs", async () => {
    await app.call("POST", "/scale/tenants", { body: { tenant_id: "small", name: "S", max_queued_runs: 2 } });
    const key = await app.stores.key("small");
    const { session_id } = await sendMessage({ message: "1" }, { key });
    await sendMessage({ message: "2", session_id }, { key });
    expect(await failsWith(await post({ message: "3", session_id }, { key }))).toEqual([429, "queue_full"]);
  });
});

describe("the attachments of a chat turn", () => {
  let uploads = 0;
  /** A complete upload of a tenant, as its row. */
  async function uploaded(tenant: string, content_type: string, bytes = 3): Promise<string> {
    const id = `upload_${String((uploads += 1)).padStart(24, "0")}`;
    await app.stores.sql`
      insert into uploads (upload_id, tenant_id, name, content_type, bytes, sha256, stored_at)
      values (${id}, ${tenant}, 'file', ${content_type}, ${bytes}, ${"0".repeat(64)}, now())`;
    return id;
  }
  const refusedWith = async (ids: string[], images: string[] = []) => {
    const attachments = ids.map((upload_id) => ({ upload_id }));
    const refused = await post({ agent: "acmes", message: "hi", images, attachments }, { key: acme });
    const { errors } = z
      .object({ errors: z.array(z.object({ path: z.string(), message: z.string() })).default([]) })
      .parse(await refused.json());
    return [refused.status, errors[0]?.path, errors[0]?.message];
  };

  // Fails when the references are not in the history, or the run does not keep its uploads.
  test("are in the history with the URLs that open them, and are kept with the turn", async () => {
    const id = await uploaded("acme", "application/json; charset=utf-8");
    const body = { message: "", agent: "acmes", attachments: [{ upload_id: id }] };
    const turn = await sendMessage(body, { key: acme });
    const { messages } = z
      .looseObject({ messages: z.array(z.looseObject({})) })
      .parse(await bodyOf(await get(turn.session_id, "status", { key: acme })));
    const url = `/api/v2/uploads/${id}`;
    expect(messages[0]).toMatchObject({ content: "", attachments: [{ name: "file", size: 3, url }] });
    const deleted = await app.call("DELETE", url, { key: acme });
    expect(deleted.status).toBe(409);
    const [run] = await app.stores.sql`select input from runs where run_id = ${turn.turn_id}`;
    expect(JSON.parse(String(run?.["input"]))).toMatchObject({ attachments: [{ url }], state: {} });
  });

  test("of another tenant do not exist", async () => {
    const id = await uploaded("globex", "text/plain");
    expect(await refusedWith([id])).toEqual([404, "attachments[0].upload_id", "does not exist"]);
  });

  test("are refused when no model takes them, or they are more than a message may have", async () => {
    const MIB_OF_TEXT = await uploaded("acme", "text/csv", MIB + 1);
    expect(await refusedWith([MIB_OF_TEXT])).toEqual([
      422,
      "attachments[0].upload_id",
      "has 1048577 bytes, and a text file of a chat may have 1048576",
    ]);
    const pdf = await uploaded("acme", "application/pdf");
    expect(await refusedWith([pdf])).toEqual([
      422,
      "attachments[0].upload_id",
      expect.stringMatching(/^is of the type application\/pdf, which a chat cannot show to a model/),
    ]);
    const images = await Promise.all([0, 1].map(() => uploaded("acme", "image/png", 4 * MIB)));
    expect(await refusedWith(images)).toEqual([422, "attachments", expect.stringContaining("8388608 bytes")]);
    const small = await uploaded("acme", "image/png");
    const inline = Array.from({ length: 5 }, () => PNG);
    expect(await refusedWith([small], inline)).toEqual([
      422,
      "attachments",
      expect.stringContaining("5 images"),
    ]);
    expect(await refusedWith(Array.from({ length: 11 }, () => small))).toEqual([
      422,
      "attachments",
      "may have at most 10 files",
    ]);
  });
});

describe("the turns of a session", () => {
  // Fails when the claim does not check the turns before it: a turn may be due for any reason.
  test("are claimed one after the other, also when a later one is due", async () => {
    const first = await sendMessage({ message: "1" });
    const second = await sendMessage({ message: "2", session_id: first.session_id });
    // The turn's far wake-up is a last resort; the status does not show it as a delayed start.
    const status = await app.call("GET", runPath(second.turn_id, "status"));
    expect(await bodyOf(status)).toMatchObject({ status: "queued", waiting: null });
    await app.stores.sql`update runs set wake_at = now() where run_id = ${second.turn_id}`;
    const claim = () => claimRuns(app.stores.sql, newIncarnation("w"), [second.turn_id]);
    expect(await claim()).toEqual([]);
    await answer(first, "one");
    expect(await claim()).toHaveLength(1);
  });

  // Fails when the next turn waits for ever after a crash between the end of a turn and its wake-up.
  test("are woken by the reconciler when the end of the turn before them did not wake them", async () => {
    const first = await sendMessage({ message: "1" });
    const second = await sendMessage({ message: "2", session_id: first.session_id });
    expect(await wakeTurns(app.stores.sql, null)).toEqual([]);
    await answer(first, "one");
    expect(await wakeTurns(app.stores.sql, null)).toMatchObject([
      { run_id: second.turn_id, status: "queued" },
    ]);
    expect(await wakeTurns(app.stores.sql, null)).toEqual([]);
  });

  // Fails when bases are not reserved under a lock, or when a turn is refused because a later base was accepted first.
  test("have growing ids, however many requests come at once, and none is lost", async () => {
    const { session_id } = await sendMessage({ message: "0" });
    const texts = Array.from({ length: 30 }, (_, i) => `m${i}`);
    await Promise.all(texts.map((message) => sendMessage({ message, session_id })));
    const rows = await app.stores.sql`
      select right(run_id, 13) as base, input::json ->> 'message' as message from runs
      where chat_session = ${session_id} order by queued_at, right(run_id, 13)`;
    const bases = rows.map(({ base }) => String(base));
    expect(new Set(bases).size).toBe(31);
    expect(bases).toEqual(bases.toSorted());
    expect(new Set(rows.map(({ message }) => message))).toEqual(new Set(["0", ...texts]));
  });

  // Fails when a turn is refused because another turn of its session got a later id first.
  test("get a later id when another turn of the session was accepted first", async () => {
    const { session_id } = await sendMessage({ message: "1" });
    await app.stores.sql`
      update chat_sessions set reserved_base = '8999999999998', newest_base = '9000000000000'
      where session_id = ${session_id}`;
    const { turn_id } = await sendMessage({ message: "2", session_id });
    expect(turn_id).toMatch(/_9000000000001$/);
  });

  // Fails when an accept whose quota Postgres checks does not order turns, or answers a busy session with another code.
  test("are accepted in order while Redis is away, and on_busy reject is a 409 then too", async () => {
    const { first, second, rejected } = await app.stores.withoutRedis(async () => {
      const turn = await sendMessage({ message: "1" });
      const { session_id } = turn;
      return {
        first: turn,
        second: await sendMessage({ message: "2", session_id }),
        rejected: await failsWith(await post({ message: "3", session_id, on_busy: "reject" })),
      };
    });
    expect(rejected).toEqual([409, "session_busy"]);
    const claim = () => claimRuns(app.stores.sql, newIncarnation("w"), [second.turn_id]);
    expect(await claim()).toEqual([]);
    await answer(first, "one");
    await wakeTurns(app.stores.sql, first.session_id);
    expect(await claim()).toHaveLength(1);
  });

  test("include a turn that waits for a person: the next message cancels it", async () => {
    const first = await sendMessage({ message: "1" });
    const worker = await FakeWorker.claim(app.stores.sql, first.turn_id);
    const wait = {
      wait_id: "chat:1",
      step_id: "chat",
      kind: "human",
      prompt: "May I?",
      fields: "[]",
      deadline_ms: 60_000,
    };
    await worker.write({
      kind: "park",
      step_path: "chat",
      output: JSON.stringify({ step: "chat", visit: 1, reason: "answer", wait_id: "chat:1" }),
      events: '{"type":"llm_delta","orch_step_id":"chat","first":true,"text":"I would"}',
      status: "paused",
      wake_ms: 60_000,
      waits: [{ ...wait, kind: "human", child_run_id: null }],
    });
    // Fails when a page that is loaded anew cannot show the question.
    expect(await bodyOf(await get(first.session_id, "status"))).toMatchObject({
      status: "paused",
      turn_id: first.turn_id,
      waits: [{ reason: "human", question_id: "chat:1", prompt: "May I?", fields: [] }],
    });
    const second = await sendMessage({ message: "no, wait", session_id: first.session_id });
    expect(await bodyOf(await app.call("GET", runPath(first.turn_id, "status")))).toMatchObject({
      status: "cancelled",
    });
    expect(await claimRuns(app.stores.sql, newIncarnation("w"), [second.turn_id])).toHaveLength(1);
    const { messages, waits } = await bodyOf(await get(first.session_id, "status"));
    expect(waits).toEqual([]);
    expect(messages).toMatchObject([
      { role: "user", content: "1" },
      { role: "assistant", content: "I would", cut: true },
      { role: "user", content: "no, wait" },
    ]);
  });

  // Fails when every pause of a turn counts as a question.
  test("include a turn that waits for a run that it has started: the next message does not cancel it", async () => {
    const first = await sendMessage({ message: "1" });
    const worker = await FakeWorker.claim(app.stores.sql, first.turn_id);
    const wait = { wait_id: "chat:1", step_id: "chat", kind: "child", prompt: null, fields: null } as const;
    await worker.write({
      kind: "park",
      step_path: "chat",
      output: JSON.stringify({ step: "chat", visit: 1, reason: "child", wait_id: "chat:1" }),
      status: "paused",
      wake_ms: 60_000,
      waits: [{ ...wait, deadline_ms: null, child_run_id: RunId.parse("run_2483e1773407_1780499750067") }],
    });
    const second = await sendMessage({ message: "2", session_id: first.session_id });
    expect(await bodyOf(await app.call("GET", runPath(first.turn_id, "status")))).toMatchObject({
      status: "paused",
    });
    expect(await claimRuns(app.stores.sql, newIncarnation("w"), [second.turn_id])).toEqual([]);
  });

  test("are not retried: a later turn may have begun", async () => {
    const turn = await sendMessage({ message: "1" });
    await (await FakeWorker.claim(app.stores.sql, turn.turn_id)).end("failed");
    const retried = await app.call("POST", runPath(turn.turn_id, "retry"));
    expect(await failsWith(retried)).toEqual([409, "run_finished"]);
  });
});

describe("a session", () => {
  test("of another tenant does not exist", async () => {
    const { session_id } = await sendMessage({ message: "secret" }, { key: acme });
    const calls: [string, string, CallOptions][] = [
      ["GET", `${session_id}/status`, {}],
      ["GET", `${session_id}/stream`, {}],
      ["GET", `${session_id}/events`, {}],
      ["POST", `${session_id}/cancel`, {}],
      ["POST", `${session_id}/stream-token`, {}],
      ["PATCH", session_id, { body: { title: "mine" } }],
      ["DELETE", session_id, {}],
    ];
    for (const [method, path, options] of calls) {
      const refused = await app.call(method, `/api/v2/chat/${path}`, { ...options, key: globex });
      expect([method, path, ...(await failsWith(refused))]).toEqual([method, path, 404, "not_found"]);
    }
    const refused = await post({ message: "hi", session_id }, { key: globex });
    expect(await failsWith(refused)).toEqual([404, "not_found"]);
    const listed = await bodyOf(await app.call("GET", "/api/v2/chat", { key: globex }));
    expect(listed).toEqual({ data: [], next_cursor: null });
  });

  test("is not read or changed by a key without the scope", async () => {
    const { session_id } = await sendMessage({ message: "hi" });
    const none = await app.stores.key(null, ["definitions:write"]);
    for (const [method, path] of [
      ["GET", ""],
      ["GET", `/${session_id}/status`],
      ["GET", `/${session_id}/stream`],
      ["GET", `/${session_id}/events`],
      ["POST", `/${session_id}/cancel`],
      ["POST", `/${session_id}/stream-token`],
      ["DELETE", `/${session_id}`],
    ]) {
      const refused = await app.call(String(method), `/api/v2/chat${path}`, { key: none });
      expect([method, path, refused.status]).toEqual([method, path, 403]);
    }
  });

  test("is listed by its newest turn, renamed and deleted with its history; its runs stay", async () => {
    const key = await app.stores.key("lists");
    const [first, second] = [
      await sendMessage({ message: "a" }, { key }),
      await sendMessage({ message: "b" }, { key }),
    ];
    await sendMessage({ message: "again", session_id: first.session_id }, { key });
    const list = async (query = "") => bodyOf(await app.call("GET", `/api/v2/chat${query}`, { key }));
    const page = await list("?limit=1");
    expect(page).toMatchObject({ data: [{ session_id: first.session_id, title: "a" }] });
    const rest = await list(`?limit=1&cursor=${String(page["next_cursor"])}`);
    expect(rest).toMatchObject({ data: [{ session_id: second.session_id }] });
    const renamed = await app.call("PATCH", `/api/v2/chat/${second.session_id}`, {
      key,
      body: { title: "Plans" },
    });
    expect(await bodyOf(renamed)).toMatchObject({ title: "Plans" });

    expect((await app.call("DELETE", `/api/v2/chat/${second.session_id}`, { key })).status).toBe(204);
    expect((await get(second.session_id, "status", { key })).status).toBe(404);
    const messages = await app.stores
      .sql`select 1 from chat_messages where session_id = ${second.session_id}`;
    expect(messages).toHaveLength(0);
    expect(await bodyOf(await app.call("GET", runPath(second.turn_id, "status"), { key }))).toMatchObject({
      status: "cancelled",
    });
    expect(await list()).toMatchObject({ data: [{ session_id: first.session_id }], next_cursor: null });
  });

  // Fails when a model takes a cut answer for a whole one, or does not know of the calls whose effects it must not repeat.
  test("marks the cut answers in the history that a later turn reads, with the calls that they made", async () => {
    const whole = await sendMessage({ message: "q" });
    const { session_id } = whole;
    await answer(whole, "a", { tool_calls: [{ tool: "look", args: {} }] });
    const one = [{ tool: "send", args: { to: "ann", text: "\0" } }];
    await answer(await sendMessage({ message: "mail", session_id }), "", { cut: true, tool_calls: one });
    const many = Array.from({ length: 300 }, (_, n) => ({ tool: `send_${n}`, args: { n } }));
    await answer(await sendMessage({ message: "all", session_id }), "so", { cut: true, tool_calls: many });
    await answer(await sendMessage({ message: "talk", session_id }), "far", { cut: true });
    const { messages } = await readChatHistory(app.stores.sql, session_id, "9");
    const answers = messages.filter(({ role }) => role === "assistant");
    expect(answers.map(({ content, cut }) => [content, cut])).toEqual([
      ["a", undefined],
      ["", true],
      ["so", true],
      ["far", true],
    ]);
    const calls = answers.map((each) => each.calls);
    expect(calls).toEqual([undefined, JSON.stringify(one), expect.any(String), undefined]);
    for (const named of ["send_0", " […] ", "send_299"]) expect(calls[2]).toContain(named);
    expect(calls[2]?.length).toBeLessThan(6_100);
  });

  test("pages its history backwards, and every message once", async () => {
    const first = await sendMessage({ message: "q0" });
    await answer(first, "a0");
    for (const n of [1, 2]) {
      await answer(await sendMessage({ message: `q${n}`, session_id: first.session_id }), `a${n}`);
    }
    const Page = z.object({
      messages: z.array(z.object({ content: z.string() })),
      next_cursor: z.string().nullable(),
    });
    const page = async (cursor: string) => {
      const read = await get(first.session_id, `status?limit=4${cursor}`);
      const { messages, next_cursor } = Page.parse(await read.json());
      return { contents: messages.map(({ content }) => content), next_cursor };
    };
    const newest = await page("");
    expect(newest.contents).toEqual(["q1", "a1", "q2", "a2"]);
    expect(await page(`&cursor=${newest.next_cursor}`)).toEqual({
      contents: ["q0", "a0"],
      next_cursor: null,
    });
  });

  test("streams the turn that an event id belongs to, then the turn after it, and 204 after the last one", async () => {
    const first = await sendMessage({ message: "1" });
    await answer(first, "one");
    const second = await sendMessage({ message: "2", session_id: first.session_id });
    await answer(second, "two");
    const token = z
      .object({ token: z.string() })
      .parse(await bodyOf(await app.call("POST", `/api/v2/chat/${first.session_id}/stream-token`))).token;
    const stream = (query: string) =>
      app.call("GET", `/api/v2/chat/${first.session_id}/stream?token=${token}${query}`, { key: null });
    const runOf = async (query: string) =>
      /"run_id":"(run_[0-9a-f_]+)"/.exec(await (await stream(query)).text())?.[1];
    const idOf = (turn: string, seq: number) => `&last_event_id=${turn.slice(-13)}-${seq}`;
    expect(await runOf("")).toBe(second.turn_id);
    expect(await runOf(`&turn_id=${first.turn_id}`)).toBe(first.turn_id);
    expect(await runOf(idOf(first.turn_id, 0))).toBe(first.turn_id);
    expect(await runOf(idOf(first.turn_id, 1))).toBe(second.turn_id);
    expect((await stream(idOf(second.turn_id, 1))).status).toBe(204);
    expect((await stream("&last_event_id=1000000000000-1")).status).toBe(400);
    const otherRun = await app.call("GET", `${runPath(first.turn_id, "stream")}?token=${token}`, {
      key: null,
    });
    expect(otherRun.status).toBe(404);
  });

  test("lists the events of all its turns in order, page by page", async () => {
    const first = await sendMessage({ message: "1" });
    await answer(first, "one");
    const second = await sendMessage({ message: "2", session_id: first.session_id });
    await answer(second, "two");
    const Page = z.object({
      events: z.array(z.object({ id: z.string() })),
      next_cursor: z.string().nullable(),
    });
    const ids: string[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const read = await get(first.session_id, `events?limit=1${cursor && `&cursor=${cursor}`}`);
      const page = Page.parse(await read.json());
      ids.push(...page.events.map(({ id }) => id));
      cursor = page.next_cursor;
    }
    expect(ids).toEqual([first, second].map(({ turn_id }) => `${turn_id.slice(-13)}-1`));
    const [firstId = "", secondId = ""] = ids;
    expect(
      await bodyOf(await get(first.session_id, `events?start=${secondId}&end=${firstId}`)),
    ).toMatchObject({
      status: 422,
      errors: [{ path: "start" }, { path: "end" }],
    });
    expect(await bodyOf(await get(first.session_id, `events?start=${firstId}&end=${firstId}`))).toMatchObject(
      {
        count: 1,
      },
    );
    expect(await eventTypesOf(app.stores.sql, first.turn_id)).toEqual(["done"]);
  });
});

describe("a message with on_busy interrupt", () => {
  const statusOf = async ({ turn_id }: { turn_id: string }) =>
    (await bodyOf(await app.call("GET", runPath(turn_id, "status"))))["status"];

  // Fails when the message waits behind the turns that were queued before it.
  test("is the next turn: the turn under way and all waiting turns end, and their messages stay", async () => {
    const first = await sendMessage({ message: "one" });
    const worker = await FakeWorker.claim(app.stores.sql, first.turn_id);
    const { session_id } = first;
    const queued = [];
    for (const message of ["two", "three", "four"]) queued.push(await sendMessage({ message, session_id }));
    const next = await sendMessage({ message: "five", session_id, on_busy: "interrupt" });
    expect(await Promise.all(queued.map(statusOf))).toEqual(["cancelled", "cancelled", "cancelled"]);
    expect(await statusOf(next)).toBe("queued");
    // The newest turn ends first, so that no queued turn begins when the one before it ends.
    const ids = pgArray(queued.map(({ turn_id }) => turn_id));
    const ended = await app.stores.sql<{ run_id: string }[]>`
      select run_id from runs where run_id = any(${ids}::text[]) order by ended_at desc`;
    expect(ended.map(({ run_id }) => run_id)).toEqual(queued.map(({ turn_id }) => turn_id));
    const [underWay] = await app.stores.sql`
      select cancel_requested_at is not null as ends from runs where run_id = ${first.turn_id}`;
    expect(underWay).toEqual({ ends: true });
    // A later message waits behind it.
    const later = await sendMessage({ message: "six", session_id });
    await worker.write({ kind: "end", status: "cancelled", output: "{}" });
    await wakeTurns(app.stores.sql, session_id);
    await answer(next, "fifth");
    await wakeTurns(app.stores.sql, session_id);
    await answer(later, "sixth");
    const { messages } = z
      .object({ messages: z.array(z.object({ role: z.string(), content: z.string() })) })
      .parse(await bodyOf(await get(session_id, "status")));
    expect(messages.map(({ role, content }) => `${role}: ${content}`)).toEqual([
      "user: one",
      "user: two",
      "user: three",
      "user: four",
      "user: five",
      "assistant: fifth",
      "user: six",
      "assistant: sixth",
    ]);
  });

  // Fails when a client that repeats its request after a death of the edge waits behind the turn that it interrupts.
  test("ends the turns before it when it is repeated too", async () => {
    const first = await sendMessage({ message: "one" });
    await FakeWorker.claim(app.stores.sql, first.turn_id);
    const again = () =>
      sendMessage(
        { message: "two", session_id: first.session_id, on_busy: "interrupt" },
        { headers: { "idempotency-key": "interrupts" } },
      );
    const next = await again();
    const { sql } = app.stores;
    await sql`update runs set cancel_requested_at = null where run_id = ${first.turn_id}`;
    expect(await again()).toMatchObject({ turn_id: next.turn_id });
    expect(
      await sql`select from runs where run_id = ${first.turn_id} and cancel_requested_at is not null`,
    ).toHaveLength(1);
  });

  test("ends no turn of another session, and no later turn", async () => {
    const other = await sendMessage({ message: "other" });
    const sameSession = await sendMessage({ message: "mine" });
    const next = await sendMessage({
      message: "next",
      session_id: sameSession.session_id,
      on_busy: "interrupt",
    });
    expect([await statusOf(other), await statusOf(sameSession), await statusOf(next)]).toEqual([
      "queued",
      "cancelled",
      "queued",
    ]);
  });
});
