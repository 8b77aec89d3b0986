import { describe, expect, test } from "vitest";
import { aProvider, ag1, runStep } from "./model-run.ts";
import { counts, event, oc, text } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

// Servers that answer at the URL of Chat Completions in the format of another API: Ollama's own, or OpenAI's Responses.

const { server, run } = aProvider();
const lines = (...objects: object[]) => objects.map((object) => `${JSON.stringify(object)}\n`).join("");
const events = (...objects: { type: string; [field: string]: unknown }[]) =>
  objects.map((object) => event(object, object.type)).join("");

const ollama = (message: object, fields: object = {}) => ({
  model: "m",
  created_at: "2026-11-29T12:00:00Z",
  message: { role: "assistant", ...message },
  done: false,
  ...fields,
});
const done = { prompt_eval_count: 3, eval_count: 2, done: true, done_reason: "stop" };

const textItem = { type: "message", role: "assistant", content: [{ type: "output_text", text: "all" }] };
const called = { type: "function_call", id: "f", call_id: "c1", name: "lookup", arguments: '{"q":"a"}' };
const response = (output: object[], fields: object = {}) => ({
  id: "r",
  object: "response",
  status: "completed",
  error: null,
  output,
  usage: { input_tokens: 3, output_tokens: 2 },
  ...fields,
});

// Fails when only Chat Completions are read.
test.each([
  [
    "Ollama's lines",
    lines(ollama({ content: "al" }), ollama({ content: "l" }), ollama({ content: "" }, done)),
  ],
  ["Ollama's whole answer", JSON.stringify(ollama({ content: "all" }, done), null, 2)],
  ["Ollama's lines as events", event(ollama({ content: "al" })) + event(ollama({ content: "l" }, done))],
  ["Ollama's thoughts", lines(ollama({ content: "", thinking: "hm" }), ollama({ content: "all" }, done))],
  ["Ollama's answer to generate", lines({ response: "al", done: false }, { response: "l", ...done })],
  ["a response", JSON.stringify(response([{ type: "reasoning", summary: [] }, textItem]))],
  [
    "a streamed response",
    events(
      { type: "response.created", response: response([], { status: "in_progress", usage: null }) },
      { type: "response.output_item.added", item: { type: "message", content: [] } },
      { type: "response.output_text.delta", delta: "al" },
      { type: "response.output_text.delta", delta: "l" },
      { type: "response.output_text.done", text: "all" },
      { type: "response.output_item.done", item: textItem },
      { type: "response.completed", response: response([textItem]) },
    ),
  ],
  [
    "a response that is streamed in one event",
    events({ type: "response.completed", response: response([textItem]) }),
  ],
])("%s is an answer, and is charged", async (_, stream) => {
  expect(await run(oc, stream)).toMatchObject({ response: "all", text: "all", retries: [], tokens: 5 });
});

const ollamaCall = { function: { name: "lookup", arguments: { q: "a" } } };
test.each([
  ["Ollama's", lines(ollama({ content: "", tool_calls: [ollamaCall] }), ollama({ content: "" }, done))],
  ["a response's", JSON.stringify(response([called]))],
  [
    "a streamed response's",
    events(
      { type: "response.output_item.added", output_index: 0, item: { ...called, arguments: "" } },
      { type: "response.function_call_arguments.delta", output_index: 0, delta: '{"q":"a"}' },
      { type: "response.function_call_arguments.done", output_index: 0, arguments: '{"q":"a"}' },
      { type: "response.output_item.done", output_index: 0, item: called },
      { type: "response.completed", response: response([called]) },
    ),
  ],
])("%s call is made once", async (_, stream) => {
  const result = await runStep(server, ag1, [stream, text("fine", counts(0, 1))]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [], tokens: 5 + 1 });
});

const incomplete = (reason: string) => ({ status: "incomplete", incomplete_details: { reason } });
const limited = { code: "rate_limit_exceeded", message: "m" };
// Fails when an incomplete answer of another API counts as complete.
test.each<[string, string, string]>([
  [
    "reached Ollama's limit",
    lines(ollama({ content: "Half" }, { ...done, done_reason: "length" })),
    "output_limit",
  ],
  ["has no last line of Ollama's", lines(ollama({ content: "Half" })), "model_cut"],
  [
    "is an error of Ollama's",
    lines(ollama({ content: "Half" }), { error: "rate limit reached" }),
    "model_rate_limited",
  ],
  [
    "reached a response's limit",
    JSON.stringify(response([textItem], incomplete("max_output_tokens"))),
    "output_limit",
  ],
  ["was filtered", JSON.stringify(response([], incomplete("content_filter"))), "content_filter"],
  [
    "was refused",
    JSON.stringify(response([{ ...textItem, content: [{ type: "refusal", refusal: "no" }] }])),
    "content_filter",
  ],
  ["failed", JSON.stringify(response([], { status: "failed", error: limited })), "model_rate_limited"],
  [
    "failed in its stream",
    events(
      { type: "response.output_text.delta", delta: "al" },
      { type: "response.failed", response: response([], { status: "failed", error: limited }) },
    ),
    "model_rate_limited",
  ],
  ["was cancelled", JSON.stringify(response([textItem], { status: "cancelled" })), "model_unavailable"],
  ["ends in its stream", events({ type: "response.output_text.delta", delta: "al" }), "model_cut"],
])("an answer that %s is not complete", async (_, stream, code) => {
  expect(await run(oc, stream)).toMatchObject({ status: "failed", code });
});

describe("a body under 200 that is no stream", () => {
  const body =
    (content: string, type: string): Answer =>
    (reply) => {
      reply.writeHead(200, { "content-type": type });
      reply.end(content);
    };

  // Fails when the error is `model_cut`, which does not lead the operator to the base URL.
  test.each([
    ["a page", "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"],
    ["a page with a script", '<html><script>\nvar a = {"x":1};\n</script>\n{\n}</html>'],
    ["a page with the line of an event", "<html>\ndata: hello\n\n</html>"],
    ["JSON of something else", '{"status":"ok"}'],
  ])("is no answer: %s", async (_, content) => {
    const result = await run(oc, body(content, "text/html"), text("all"));
    expect(result).toMatchObject({ response: "all", retries: ["model_unreadable"] });
    expect(await run(oc, body(content, "text/html"))).toMatchObject({
      message: expect.stringContaining("base URL"),
    });
  });

  test("is an answer under any type that a server gives it", async () => {
    const answer = { choices: [{ message: { content: "all" }, finish_reason: "stop" }] };
    for (const reply of [
      body(JSON.stringify(answer, null, 2), "text/plain"),
      body(`\ufeff${JSON.stringify(answer)}`, "text/event-stream"),
      body(text("all").trimEnd(), "application/json"),
    ]) {
      expect(await run(oc, reply)).toMatchObject({ response: "all", retries: [] });
    }
  });
});
