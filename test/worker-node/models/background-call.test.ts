/** Answers that OpenAI makes in the background: docs/protocol.md 5.31. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { BackgroundRequest, ModelRequest } from "../../../worker-node/engine/ports.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { ResponseGone } from "../../../worker-node/models/background-call.ts";
import { createModels } from "../../../worker-node/models/create-models.ts";
import { ResponsesServer } from "./responses-server.ts";

let server: ResponsesServer;
let models: ReturnType<typeof createModels>;
let stop: AbortController;
const ids: (string | null)[] = [];

beforeEach(async () => {
  server = new ResponsesServer();
  models = createModels({ OPENAI_API_KEY: "k", OPENAI_BASE_URL: await server.start() }, 10_000);
  stop = new AbortController();
  ids.length = 0;
});
afterEach(() => server.stop());

const background = (attachTo: string | null = null): BackgroundRequest => ({
  attachTo,
  onBegun: (id) => ids.push(id),
  onEnded: () => ids.push(null),
});

function generate(changes: Partial<ModelRequest> = {}) {
  const texts: string[] = [];
  const usage: unknown[] = [];
  const answer = models.generate({
    model: "openai/gpt-4.1",
    messages: [{ role: "user", content: "Write" }],
    tools: [],
    toolChoice: "auto",
    effectKey: "run:a:1:model.1",
    signal: stop.signal,
    onText: (piece) => texts.push(piece),
    onUsage: (report) => usage.push(report),
    background: background(),
    ...changes,
  });
  // Each test looks at the outcome when it is decided.
  answer.catch(() => {});
  return { answer, texts, usage };
}

/** The n-th response, when it has begun. */
async function begun(n = 1) {
  await expect.poll(() => server.responses.length).toBe(n);
  const response = server.responses.at(-1);
  if (response === undefined) throw new Error("no response");
  await expect.poll(() => ids.at(-1)).toBe(response.id);
  return response;
}

const parameters = { type: "object", properties: { city: { type: "string" } } };
const tools = [{ name: "weather", description: "of a city", parameters }];

test("the provider keeps the response, and its id is known before the answer has begun", async () => {
  const { answer, texts } = generate({ tools });
  const response = await begun();
  expect(response.body).toMatchObject({ background: true, store: true, stream: true });
  // A function is strict unless it says otherwise, and then its schema is refused.
  expect(response.body).toMatchObject({ tools: [{ type: "function", name: "weather", strict: false }] });
  response.sendText("A whole ");
  response.sendText("answer.");
  response.complete();
  expect(await answer).toMatchObject({
    text: "A whole answer.",
    usage: { provider: "openai", input_tokens: 40, output_tokens: 60 },
  });
  expect(texts.join("")).toBe("A whole answer.");
  expect(server.requests).toEqual(["POST /v1/responses"]);
});

test("a stream that is cut in the middle of an event goes on after its last whole event", async () => {
  const { answer, texts } = generate();
  const response = await begun();
  response.sendText("A whole ");
  await expect.poll(() => texts.join("")).toBe("A whole ");
  response.cut();
  await expect.poll(() => response.connections).toBe(1);
  response.sendText("answer.");
  response.complete();
  expect((await answer).text).toBe("A whole answer.");
  expect(texts.join("")).toBe("A whole answer.");
  expect(server.requests).toEqual([
    "POST /v1/responses",
    "GET /v1/responses/resp_1?stream=true&starting_after=3",
  ]);
});

test("a call that continues a response begins none, and has the tool calls and the usage of that response", async () => {
  const first = generate({ tools });
  const response = await begun();
  stop.abort(new Stop("drain", "the worker ends"));
  await expect(first.answer).rejects.toThrow("the worker ends");
  // The worker that gets the answer charges it, so this one charges nothing.
  expect(first.usage.at(-1)).toBeNull();
  expect(response.isCancelled).toBe(false);
  response.call("weather", { city: "Bern" });
  stop = new AbortController();
  const { answer } = generate({ tools, background: background(response.id) });
  expect(await answer).toMatchObject({
    tool_calls: [{ id: "call_1", name: "weather", args: { city: "Bern" } }],
    usage: { input_tokens: 40, output_tokens: 60 },
  });
  expect(server.requests.filter((each) => each.startsWith("POST"))).toHaveLength(1);
  expect(server.requests.at(-1)).toBe("GET /v1/responses/resp_1?stream=true");
});

test.each(["cancel", "step_timeout"] as const)("%s of the run cancels the response", async (why) => {
  const { answer } = generate();
  const response = await begun();
  stop.abort(new Stop(why, "it is over"));
  await expect(answer).rejects.toThrow("it is over");
  await expect.poll(() => response.isCancelled).toBe(true);
});

test("a response that the provider does not know is gone: the call has used nothing, and no later call asks for it", async () => {
  const { answer, usage } = generate({ background: background("resp_9") });
  await expect(answer).rejects.toThrow(ResponseGone);
  expect(usage.at(-1)).toBeNull();
  expect(ids).toEqual([null]);
});

test("a response that has failed is not asked for again", async () => {
  const { answer } = generate();
  const response = await begun();
  response.fail("server_error");
  await expect(answer).rejects.toMatchObject({ code: "model_unavailable" });
  expect(ids).toEqual(["resp_1", null]);
  expect(response.isCancelled).toBe(false);
});

test("a provider that cannot be reached for the answer keeps the response for the next try", async () => {
  server.stop();
  const { answer, usage } = generate({ background: background("resp_1") });
  await expect(answer).rejects.toMatchObject({ code: "model_unreachable" });
  expect(usage.at(-1)).toBeNull();
  expect(ids).toEqual([]);
});

test("models of other providers answer over a connection", async () => {
  const { answer } = generate({ model: "demo/writer" });
  expect((await answer).text).not.toBe("");
  expect(server.requests).toEqual([]);
});
