import { afterAll, beforeAll, expect, test } from "vitest";
import { bodyOf, runPath } from "../edge/app.ts";
import { WebhookReceiver } from "../worker-node/webhooks/webhook-receiver.ts";
import { ChatApi, lastSaid } from "./chat-api.ts";
import { untilEnd } from "./api.ts";

let chat: ChatApi;
beforeAll(async () => {
  chat = await ChatApi.start();
  await chat.worker("w");
});
afterAll(() => chat.stop());

// Fails when the history is not sent to the model, or an answer is not added to it with the end of its run.
test("a turn is answered with the history before it, and its answer is in the history when it has ended", async () => {
  const first = await chat.say({ message: "one", agent: "helper", session_id: null });
  const watched = await chat.watch(first.session_id);
  expect(watched.frames.map(({ data }) => data["type"])).toEqual(
    expect.arrayContaining(["session", "llm_delta", "final", "done"]),
  );
  expect(watched.frames.at(-1)?.data).toMatchObject({ type: "done", run_id: first.turn_id });
  expect(await chat.history(first.session_id)).toEqual(["user: one", "assistant: You said: one"]);

  const second = await chat.say({ message: "two", session_id: first.session_id });
  await untilEnd(chat.api, second.turn_id);
  expect(chat.provider.requests.at(-1)?.body.messages).toEqual([
    { role: "system", content: "You help." },
    { role: "user", content: "one" },
    { role: "assistant", content: "You said: one" },
    { role: "user", content: "two" },
  ]);
  expect(await chat.session(first.session_id)).toMatchObject({
    status: "completed",
    turn_id: second.turn_id,
    agent_id: "helper",
    title: "one",
    worker_id: "w",
  });
});

// Fails when a claim does not check the turns before it, or when the end of a turn does not wake the next one. The order of jobs
// in Redis alone guarantees nothing: Redis is emptied.
test("50 turns that are sent to a session at once run one at a time, in the order of their ids, also when Redis is emptied", async () => {
  const { session_id } = await chat.say({ message: "begin", agent: "helper" });
  chat.mostAtOnce = 0;
  const said = Array.from({ length: 50 }, (_, i) => `m${i}`);
  const turns = await Promise.all(said.map((message) => chat.say({ message, session_id })));
  await chat.api.stores.redis.flushall();
  const ids = turns.map(({ turn_id }) => turn_id).toSorted((a, b) => (a.slice(-13) < b.slice(-13) ? -1 : 1));
  for (const turn of ids) expect(await untilEnd(chat.api, turn, 60_000)).toBe("completed");
  expect(chat.mostAtOnce).toBe(1);
  const ends = await chat.api.stores.sql`
    select run_id from runs where chat_session = ${session_id} order by ended_at, run_id`;
  expect(ends.slice(1).map(({ run_id }) => String(run_id))).toEqual(ids);
  expect((await chat.history(session_id)).filter((line) => line.startsWith("assistant"))).toHaveLength(50);
});

// Fails when the history lacks the published part of a cut answer, or when the cancel does not wake the waiting turn.
test("a cancel and an interrupt keep the text so far, marked as cut, and the next turn begins", async () => {
  const { session_id } = await chat.say({ message: "hold a", agent: "helper" });
  await chat.untilHeld("hold a");
  const busy = await chat.post({ message: "no", session_id, on_busy: "reject" });
  expect([busy.status, (await bodyOf(busy))["code"]]).toEqual([409, "session_busy"]);
  const interrupting = await chat.say({ message: "hold b", session_id, on_busy: "interrupt" });
  await chat.untilHeld("hold b");
  expect(chat.held.has("hold a")).toBe(false);
  const waiting = await chat.say({ message: "c", session_id });
  const cancelled = await chat.api.call("POST", `/api/v2/chat/${session_id}/cancel`);
  expect(await bodyOf(cancelled)).toEqual({
    status: "cancellation_requested",
    session_id,
    turn_id: interrupting.turn_id,
  });
  expect(await untilEnd(chat.api, waiting.turn_id)).toBe("completed");
  expect(await chat.history(session_id)).toEqual([
    "user: hold a",
    "assistant: So far of hold a (cut)",
    "user: hold b",
    "assistant: So far of hold b (cut)",
    "user: c",
    "assistant: You said: c",
  ]);
});

// Fails when a turn that is taken over adds its answer twice, or when a failed turn removes something from the history.
test("a turn whose worker is killed is finished by another worker, and a failed turn leaves the history as it was", async () => {
  const killed = await chat.worker("killed", { WORKER_LANES: "interactive" });
  const other = chat.api.workers[0];
  await other?.stop();
  const first = await chat.say({ message: "hold on", agent: "helper" });
  await chat.untilHeld("hold on");
  const waiting = await chat.say({ message: "after", session_id: first.session_id });
  await killed.stop("SIGKILL");
  await chat.worker("next");
  await chat.untilHeld("hold on");
  chat.held
    .get("hold on")
    ?.end(`data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`);
  expect(await untilEnd(chat.api, waiting.turn_id)).toBe("completed");
  expect(await chat.history(first.session_id)).toEqual([
    "user: hold on",
    "assistant: So far of hold on",
    "user: after",
    "assistant: You said: after",
  ]);
  await chat.api.define("agents", "broken", { name: "Broken", model: "demo/nothing", tools: [] });
  const before = await chat.say({ message: "lost?", agent: "broken" });
  expect(await untilEnd(chat.api, before.turn_id)).toBe("failed");
  expect(await chat.history(before.session_id)).toEqual(["user: lost?"]);
  expect(await chat.session(before.session_id)).toMatchObject({
    status: "failed",
    error: { code: "unknown_model" },
  });
});

// Fails when a webhook of a turn has the body of a run.
test("the webhook of a turn carries its session, its answer and its cost", async () => {
  const receiver = await WebhookReceiver.listen();
  const turn = await chat.say({
    message: "tell me",
    agent: "helper",
    webhook_url: receiver.url(),
    metadata: { n: 1 },
  });
  const [got] = await receiver.waitForRequests(1, 60_000);
  receiver.close();
  expect(JSON.parse(got?.body ?? "null")).toEqual({
    type: "chat.completed",
    ...turn,
    agent_id: "helper",
    tenant_id: "default",
    status: "completed",
    message: { role: "assistant", content: "You said: tell me" },
    tool_calls: [],
    error: null,
    total_cost_usd: 0,
    total_tokens_used: expect.any(Number),
    started_at: expect.any(String),
    ended_at: expect.any(String),
    metadata: { n: 1 },
    correlation_id: turn.turn_id,
  });
});

// Fails when the images are not in the turn's input, or not sent with its message; or all turns send them.
test("images go to the model with their message, and later turns name them", async () => {
  const image = `data:image/png;base64,${Buffer.from("89504e470d0a1a0a00", "hex").toString("base64")}`;
  const first = await chat.say({ message: "what is it?", agent: "helper", images: [image, image] });
  await untilEnd(chat.api, first.turn_id);
  const sent = chat.provider.requests.at(-1)?.body.messages.at(-1);
  const part = { type: "image_url", image_url: { url: image } };
  expect(sent).toEqual({ role: "user", content: [{ type: "text", text: "what is it?" }, part, part] });
  const second = await chat.say({ message: "sure?", session_id: first.session_id });
  await untilEnd(chat.api, second.turn_id);
  expect(chat.provider.requests.at(-1)?.body.messages.at(-3)).toEqual({
    role: "user",
    content: "what is it?\n[with 2 image(s), not shown again]",
  });
  expect(
    lastSaid(chat.provider.requests.at(-1) ?? { path: "", body: { messages: [] }, headers: {}, atMs: 0 }),
  ).toBe("sure?");
  expect((await chat.api.call("GET", runPath(first.turn_id, "status"))).status).toBe(200);
});
