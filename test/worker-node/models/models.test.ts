import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { LLMock } from "@copilotkit/aimock";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createModels } from "../../../worker-node/models/create-models.ts";
import type { Message, ModelAnswer, ToolSpec } from "../../../worker-node/engine/ports.ts";

// Against a server that speaks the providers' own formats over HTTP.

const mock = new LLMock({ port: 0 });
let env: Parameters<typeof createModels>[0];

beforeAll(async () => {
  const url = await mock.start();
  env = {
    OPENAI_API_KEY: "sk-test-secret",
    OPENAI_BASE_URL: `${url}/v1`,
    ANTHROPIC_API_KEY: "sk-ant-secret",
    ANTHROPIC_BASE_URL: `${url}/v1`,
    GEMINI_API_KEY: "gem-secret",
    GOOGLE_BASE_URL: `${url}/v1beta`,
    OLLAMA_BASE_URL: url,
    OPENAI_COMPATIBLE_BASE_URL: `${url}/v1`,
  };
});
afterAll(() => mock.stop());
beforeEach(() => {
  mock.reset();
});

const weather: ToolSpec = {
  name: "weather",
  description: "Tells the weather.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};

type Given = {
  messages?: Message[];
  tools?: ToolSpec[];
  toolChoice?: "auto" | "required";
  signal?: AbortSignal;
  onText?: (text: string) => void;
  settings?: Parameters<typeof createModels>[0];
  silenceMs?: number;
};

function ask(model: string | null, given: Given = {}): Promise<ModelAnswer> {
  return createModels(given.settings ?? env, given.silenceMs ?? 10_000).generate({
    model,
    messages: given.messages ?? [
      { role: "system", content: "You are brief." },
      { role: "user", content: "hello" },
    ],
    tools: given.tools ?? [],
    toolChoice: given.toolChoice ?? "auto",
    effectKey: "run:s:1:model.1",
    signal: given.signal ?? new AbortController().signal,
    onText: given.onText ?? (() => {}),
  });
}

/** 100 tokens in and 20 out, as each of the providers writes it. */
const usedInEveryFormat = {
  prompt_tokens: 100,
  completion_tokens: 20,
  total_tokens: 120,
  input_tokens: 100,
  output_tokens: 20,
  promptTokenCount: 100,
  candidatesTokenCount: 20,
  totalTokenCount: 120,
};

const remote = [
  "openai/gpt-4.1-mini",
  "gpt-4.1-mini",
  "anthropic/claude-haiku-4-5",
  "claude-haiku-4-5",
  "google/gemini-2.5-flash",
  "gemini-2.5-flash",
  "ollama.llama3",
  "oaic.some-model",
  "openai-compatible/vendor/some-model",
];

describe.each(remote)("%s", (model) => {
  test("streams its text piece by piece and reports what it used", async () => {
    const content = "Hello there, this is a longer answer in several pieces.";
    mock.onMessage("hello", { content, usage: usedInEveryFormat }, { chunkSize: 10 });
    const pieces: string[] = [];
    const answer = await ask(model, { onText: (text) => pieces.push(text) });
    expect(answer.text).toBe(content);
    expect(pieces.join("")).toBe(answer.text);
    expect(pieces.length).toBeGreaterThan(1);
    expect(answer.tool_calls).toEqual([]);
    expect(answer.usage).toMatchObject({ input_tokens: 100, output_tokens: 20 });
    expect(answer.usage.cost_micro_usd > 0).toBe(!model.includes("some-model") && !model.includes("llama"));
  });

  test("calls tools, and is told what they answered", async () => {
    mock.on({ hasToolResult: false }, { toolCalls: [{ name: "weather", arguments: '{"city":"Rome"}' }] });
    mock.on({ hasToolResult: true }, { content: "It is sunny." });
    const opening: Message[] = [{ role: "user", content: "hello" }];
    const first = await ask(model, { messages: opening, tools: [weather], toolChoice: "required" });
    expect(first.tool_calls).toMatchObject([{ name: "weather", args: { city: "Rome" } }]);
    const [call] = first.tool_calls;
    if (call === undefined) throw new Error("no call");
    const second = await ask(model, {
      tools: [weather],
      messages: [
        ...opening,
        { role: "assistant", content: first.text, tool_calls: first.tool_calls },
        { role: "tool", tool_call_id: call.id, tool_name: "weather", content: "sunny" },
      ],
    });
    expect(second).toMatchObject({ text: "It is sunny.", tool_calls: [] });
  });

  test("may be tried again after HTTP 429, not before the time that the provider names", async () => {
    mock.onMessage("hello", {
      error: { message: "slow down sk-test-secret", type: "rate_limit" },
      status: 429,
      retryAfter: 7,
    });
    const error = await ask(model).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: "RetryableError",
      code: "model_rate_limited",
      retryAfterMs: 7_000,
      answered: true,
    });
    expect(String(error)).not.toContain("secret");
    // Retries are the step's, so that each is seen, counted and can be taken over by another worker.
    expect(mock.getRequests()).toHaveLength(1);
  });

  test.each([
    [500, "RetryableError", "model_unavailable"],
    [503, "RetryableError", "model_unavailable"],
    [401, "TerminalError", "model_unauthorized"],
    [400, "TerminalError", "model_bad_request"],
    [404, "TerminalError", "unknown_model"],
  ])("takes HTTP %i for a %s", async (status, name, code) => {
    mock.onMessage("hello", { error: { message: "no" }, status });
    await expect(ask(model)).rejects.toMatchObject({ name, code });
  });

  test("fails, to be tried again, when its stream is cut in the middle", async () => {
    mock.onMessage(
      "hello",
      { content: "one two three four five six" },
      { chunkSize: 4, truncateAfterChunks: 3 },
    );
    await expect(ask(model)).rejects.toMatchObject({ name: "RetryableError" });
  });
});

/** A server that answers with the beginning of a stream; `finish` says how it goes on. */
async function serve(
  body: string,
  finish: (response: ServerResponse) => void,
): Promise<{ url: string; close(): void }> {
  const server = createServer((_, response) => {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(body);
    finish(response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { url: `http://127.0.0.1:${address.port}/v1`, close: () => void server.close() };
}

const openaiBegins =
  'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi"}}]}\n\n';
const anthropicBegins = [
  '{"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"x","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}',
  '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
  '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}',
]
  .map((data) => `data: ${data}\n\n`)
  .join("");
const googleBegins =
  'data: {"candidates":[{"content":{"parts":[{"text":"Hi"}],"role":"model"},"index":0}]}\n\n';

test.each([
  ["gpt-4.1", openaiBegins],
  ["claude-haiku-4-5", anthropicBegins],
  ["gemini-2.5-flash", googleBegins],
  ["oaic.some-model", openaiBegins],
  ["ollama.llama3", openaiBegins],
])("%s: a stream that ends politely, but too early, is not an answer either", async (model, body) => {
  const { url, close } = await serve(body, (response) => response.end());
  const settings = {
    ...env,
    OPENAI_BASE_URL: url,
    ANTHROPIC_BASE_URL: url,
    GOOGLE_BASE_URL: url,
    OPENAI_COMPATIBLE_BASE_URL: url,
    OLLAMA_BASE_URL: url,
  };
  await expect(ask(model, { settings })).rejects.toMatchObject({
    name: "RetryableError",
    code: expect.stringMatching(/^model_(cut|unreachable)$/),
  });
  close();
});

test("an abort throws its reason and closes the connection to the provider", async () => {
  const stop = new AbortController();
  const reason = new Error("cancelled");
  const closed = Promise.withResolvers<void>();
  const { url, close } = await serve(openaiBegins, (response) =>
    response.once("close", () => closed.resolve()),
  );
  const settings = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: url };
  const asking = ask("gpt-4.1", { settings, signal: stop.signal, onText: () => stop.abort(reason) });
  await expect(asking).rejects.toBe(reason);
  await closed.promise;
  close();
});

// Red when: a call has no limit of its own, or the limit counts from the beginning of an answer that goes on and on.
test("a provider that says nothing any more, before its answer or in the middle, is given up", async () => {
  const limit = { name: "RetryableError", code: "model_timeout", answered: false };
  const closed = Promise.withResolvers<void>();
  const silent = await serve("", (response) => response.once("close", () => closed.resolve()));
  const settings = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: silent.url };
  await expect(ask("gpt-4.1", { settings, silenceMs: 200 })).rejects.toMatchObject({
    ...limit,
    message: "openai/gpt-4.1: the provider said nothing for 0.2 s",
  });
  await closed.promise;
  silent.close();
  const talks = await serve(openaiBegins, (response) => {
    let said = 0;
    const timer = setInterval(() => {
      said += 1;
      if (said < 8) response.write(openaiBegins);
    }, 100);
    response.once("close", () => clearInterval(timer));
  });
  const pieces: string[] = [];
  const startedMs = performance.now();
  const asking = ask("gpt-4.1", {
    settings: { OPENAI_API_KEY: "k", OPENAI_BASE_URL: talks.url },
    silenceMs: 400,
    onText: (text) => pieces.push(text),
  });
  await expect(asking).rejects.toMatchObject(limit);
  expect(performance.now() - startedMs).toBeGreaterThan(1_000);
  expect(pieces).toHaveLength(8);
  talks.close();
});

// Red when: only what the SDK makes something of is heard.
test("a provider that thinks for long, and says so by pings, is not given up", async () => {
  const pings = await serve("", (response) => {
    let said = 0;
    const timer = setInterval(() => {
      said += 1;
      if (said < 8) response.write('event: ping\ndata: {"type":"ping"}\n\n');
      else response.end(anthropicBegins);
    }, 100);
    response.once("close", () => clearInterval(timer));
  });
  const settings = { ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: pings.url };
  // It is heard to the end of its stream, which comes too early.
  await expect(ask("claude-haiku-4-5", { settings, silenceMs: 500 })).rejects.toMatchObject({
    code: "model_cut",
  });
  pings.close();
});

test("an answer that was cut off at the output limit, or withheld, is no answer", async () => {
  mock.onMessage("hello", { content: "half of", finishReason: "length" });
  await expect(ask("gpt-4.1")).rejects.toMatchObject({ name: "TerminalError", code: "output_limit" });
  mock.reset();
  mock.onMessage("hello", { content: "", finishReason: "content_filter" });
  await expect(ask("gpt-4.1")).rejects.toMatchObject({ name: "TerminalError", code: "content_filter" });
});

test("a provider that cannot be reached may be tried again", async () => {
  const settings = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: "http://127.0.0.1:9/v1" };
  await expect(ask("gpt-4.1", { settings })).rejects.toMatchObject({
    name: "RetryableError",
    code: "model_unreachable",
  });
});

describe("a model that cannot be asked", () => {
  test.each([
    ["gpt-4.1", "OPENAI_API_KEY"],
    ["anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY"],
    ["gemini-2.5-pro", "GOOGLE_GENERATIVE_AI_API_KEY"],
    ["oaic.x", "OPENAI_COMPATIBLE_BASE_URL"],
  ])("%s says that it needs %s", async (model, name) => {
    const asking = ask(model, { settings: {} });
    await expect(asking).rejects.toMatchObject({ name: "TerminalError", code: "model_not_configured" });
    await expect(asking).rejects.toThrow(name);
  });

  test.each(["nonsense", "openai/", "demo/nobody", "demo/toString", "toString/x"])(
    "%s is unknown",
    async (model) => {
      await expect(ask(model)).rejects.toMatchObject({ name: "TerminalError", code: "unknown_model" });
    },
  );
});

test.each([
  [{}, "demo/writer"],
  [{ OPENAI_API_KEY: "" }, "demo/writer"],
  [{ ANTHROPIC_API_KEY: "k" }, "anthropic/claude-haiku-4-5"],
  [{ GEMINI_API_KEY: "k" }, "google/gemini-2.5-flash"],
  [{ OPENAI_API_KEY: "k", ANTHROPIC_API_KEY: "k" }, "openai/gpt-4.1-mini"],
  [{ OPENAI_API_KEY: "k", DEFAULT_MODEL: "ollama.llama3" }, "ollama.llama3"],
])("with %j the default model is %s", (settings, model) => {
  const models = createModels(settings, 1_000);
  expect(models.defaultModel).toBe(model);
  expect(models.describe()).toContain(model);
});
