import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import { LLMock } from "@copilotkit/aimock";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createModels } from "../../../worker-node/models/create-models.ts";
import type { Message, ModelAnswer, ToolSpec } from "../../../worker-node/engine/ports.ts";

// The provider is a fake server that uses each provider's own format over HTTP.

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

type CallOptions = {
  messages?: Message[];
  tools?: ToolSpec[];
  toolChoice?: "auto" | "required";
  signal?: AbortSignal;
  onText?: (text: string) => void;
  settings?: Parameters<typeof createModels>[0];
  silenceMs?: number;
};

function generate(model: string | null, options: CallOptions = {}): Promise<ModelAnswer> {
  return createModels(options.settings ?? env, options.silenceMs ?? 10_000).generate({
    model,
    messages: options.messages ?? [
      { role: "system", content: "You are brief." },
      { role: "user", content: "hello" },
    ],
    tools: options.tools ?? [],
    toolChoice: options.toolChoice ?? "auto",
    effectKey: "run:s:1:model.1",
    signal: options.signal ?? new AbortController().signal,
    onText: options.onText ?? (() => {}),
  });
}

/** 100 input and 20 output tokens, in the format of each provider. */
const usageInEveryFormat = {
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
  test("streams its text in pieces and reports its usage", async () => {
    const content = "Hello there, this is a longer answer in several pieces.";
    mock.onMessage("hello", { content, usage: usageInEveryFormat }, { chunkSize: 10 });
    const pieces: string[] = [];
    const answer = await generate(model, { onText: (text) => pieces.push(text) });
    expect(answer.text).toBe(content);
    expect(pieces.join("")).toBe(answer.text);
    expect(pieces.length).toBeGreaterThan(1);
    expect(answer.tool_calls).toEqual([]);
    expect(answer.usage).toMatchObject({ input_tokens: 100, output_tokens: 20 });
    expect(answer.usage.cost_micro_usd > 0).toBe(!model.includes("some-model") && !model.includes("llama"));
  });

  // Fails when the error of a reader of the text is taken for a connection that was cut.
  test("a text that cannot be taken fails the call with the cause", async () => {
    mock.onMessage("hello", { content: "Hello there.", usage: usageInEveryFormat }, { chunkSize: 10 });
    const cause = new Error("no room");
    const onText = () => {
      throw cause;
    };
    await expect(generate(model, { onText })).rejects.toMatchObject({ cause });
  });

  test("calls tools and gets their results", async () => {
    mock.on({ hasToolResult: false }, { toolCalls: [{ name: "weather", arguments: '{"city":"Rome"}' }] });
    mock.on({ hasToolResult: true }, { content: "It is sunny." });
    const opening: Message[] = [{ role: "user", content: "hello" }];
    const first = await generate(model, { messages: opening, tools: [weather], toolChoice: "required" });
    expect(first.tool_calls).toMatchObject([{ name: "weather", args: { city: "Rome" } }]);
    const [call] = first.tool_calls;
    if (call === undefined) throw new Error("no call");
    const second = await generate(model, {
      tools: [weather],
      messages: [
        ...opening,
        { role: "assistant", content: first.text, tool_calls: first.tool_calls },
        { role: "tool", tool_call_id: call.id, tool_name: "weather", content: "sunny" },
      ],
    });
    expect(second).toMatchObject({ text: "It is sunny.", tool_calls: [] });
  });

  test("fails after HTTP 429 with a retryable error that has the provider's Retry-After", async () => {
    mock.onMessage("hello", {
      error: { message: "slow down sk-test-secret", type: "rate_limit" },
      status: 429,
      retryAfter: 7,
    });
    const error = await generate(model).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      name: "RetryableError",
      code: "model_rate_limited",
      retryAfterMs: 7_000,
      answered: true,
    });
    expect(String(error)).not.toContain("secret");
    // Retries belong to the step: each is visible and counted, and another worker can make it.
    expect(mock.getRequests()).toHaveLength(1);
  });

  test.each([
    [500, "RetryableError", "model_unavailable"],
    [503, "RetryableError", "model_unavailable"],
    [401, "TerminalError", "model_unauthorized"],
    [400, "TerminalError", "model_bad_request"],
    [404, "TerminalError", "unknown_model"],
  ])("turns HTTP %i into a %s", async (status, name, code) => {
    mock.onMessage("hello", { error: { message: "no" }, status });
    await expect(generate(model)).rejects.toMatchObject({ name, code });
  });

  test("fails with a retryable error when its stream is cut in the middle", async () => {
    mock.onMessage(
      "hello",
      { content: "one two three four five six" },
      { chunkSize: 4, truncateAfterChunks: 3 },
    );
    await expect(generate(model)).rejects.toMatchObject({ name: "RetryableError" });
  });
});

/** A server that sends the beginning of a stream; `finish` decides how the stream continues. */
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
])("%s: a stream that ends cleanly but without a finish reason is an error", async (model, body) => {
  const { url, close } = await serve(body, (response) => response.end());
  const settings = {
    ...env,
    OPENAI_BASE_URL: url,
    ANTHROPIC_BASE_URL: url,
    GOOGLE_BASE_URL: url,
    OPENAI_COMPATIBLE_BASE_URL: url,
    OLLAMA_BASE_URL: url,
  };
  await expect(generate(model, { settings })).rejects.toMatchObject({
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
  const call = generate("gpt-4.1", { settings, signal: stop.signal, onText: () => stop.abort(reason) });
  await expect(call).rejects.toBe(reason);
  await closed.promise;
  close();
});

// Fails when a call has no limit on silence, or the limit counts from the beginning of the answer.
test("a provider that falls silent, before its answer or within it, fails the call", async () => {
  const limit = { name: "RetryableError", code: "model_timeout", answered: false };
  const closed = Promise.withResolvers<void>();
  const silent = await serve("", (response) => response.once("close", () => closed.resolve()));
  const settings = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: silent.url };
  await expect(generate("gpt-4.1", { settings, silenceMs: 200 })).rejects.toMatchObject({
    ...limit,
    message: "openai/gpt-4.1: the provider sent nothing for 0.2 s",
  });
  await closed.promise;
  silent.close();
  const streaming = await serve(openaiBegins, (response) => {
    let sent = 0;
    const timer = setInterval(() => {
      sent += 1;
      if (sent < 8) response.write(openaiBegins);
    }, 400);
    response.once("close", () => clearInterval(timer));
  });
  const pieces: string[] = [];
  const call = generate("gpt-4.1", {
    settings: { OPENAI_API_KEY: "k", OPENAI_BASE_URL: streaming.url },
    silenceMs: 2_000,
    onText: (text) => pieces.push(text),
  });
  await expect(call).rejects.toMatchObject(limit);
  expect(pieces).toHaveLength(8);
  streaming.close();
});

// Fails when only bytes that the SDK turns into parts count as a sign of life.
test("a provider that sends only pings for a long time does not fail the call", async () => {
  const pings = await serve("", (response) => {
    let sent = 0;
    const timer = setInterval(() => {
      sent += 1;
      if (sent < 8) response.write('event: ping\ndata: {"type":"ping"}\n\n');
      else response.end(anthropicBegins);
    }, 400);
    response.once("close", () => clearInterval(timer));
  });
  const settings = { ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: pings.url };
  // The call reads to the end of the stream, which comes without a finish reason.
  await expect(generate("claude-haiku-4-5", { settings, silenceMs: 2_000 })).rejects.toMatchObject({
    code: "model_cut",
  });
  pings.close();
});

test("an answer that the provider cut off or withheld is an error", async () => {
  mock.onMessage("hello", { content: "half of", finishReason: "length" });
  await expect(generate("gpt-4.1")).rejects.toMatchObject({ name: "TerminalError", code: "output_limit" });
  mock.reset();
  mock.onMessage("hello", { content: "", finishReason: "content_filter" });
  await expect(generate("gpt-4.1")).rejects.toMatchObject({ name: "TerminalError", code: "content_filter" });
});

test("an unreachable provider fails the call with a retryable error", async () => {
  const settings = { OPENAI_API_KEY: "k", OPENAI_BASE_URL: "http://127.0.0.1:9/v1" };
  await expect(generate("gpt-4.1", { settings })).rejects.toMatchObject({
    name: "RetryableError",
    code: "model_unreachable",
  });
});

describe("a model without its settings, or without a provider", () => {
  test.each([
    ["gpt-4.1", "OPENAI_API_KEY"],
    ["anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY"],
    ["gemini-2.5-pro", "GOOGLE_GENERATIVE_AI_API_KEY"],
    ["oaic.x", "OPENAI_COMPATIBLE_BASE_URL"],
  ])("%s fails with an error that names %s", async (model, name) => {
    const call = generate(model, { settings: {} });
    await expect(call).rejects.toMatchObject({ name: "TerminalError", code: "model_not_configured" });
    await expect(call).rejects.toThrow(name);
  });

  test.each(["nonsense", "openai/", "demo/nobody", "demo/toString", "toString/x"])(
    "%s is unknown",
    async (model) => {
      await expect(generate(model)).rejects.toMatchObject({ name: "TerminalError", code: "unknown_model" });
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
