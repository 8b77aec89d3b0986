import type { ServerResponse } from "node:http";
import { describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import { aProvider, ag1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicBlock,
  anthropicEnd,
  anthropicStart,
  anthropicText,
  call,
  callChunk,
  chunk,
  go,
  googleChunk,
  oa,
  oc,
  refusal,
  text,
  whole,
} from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

// Data of an answer that only its provider understands is sent back with the next request. It comes from the committed turn, which is
// also what a worker reads after a crash.

const { server } = aProvider();

const assistantOf = (request: number) =>
  server.requests[request]?.body.messages.find((message) => message.role === "assistant");

describe.each([oc, oa])("%s", (model) => {
  const agent = { ...ag1, model };

  // Fails when the parts of a turn are its text and its calls alone.
  test.each([
    [
      "reasoning_content",
      [{ reasoning_content: "need " }, { reasoning_content: "data" }],
      { reasoning_content: "need data" },
    ],
    ["reasoning", [{ reasoning: "need " }, { reasoning: "data" }], { reasoning: "need data" }],
    [
      "reasoning_details",
      [
        { reasoning_details: [{ type: "reasoning.text", index: 0, text: "need " }] },
        { reasoning_details: [{ type: "reasoning.text", index: 0, text: "data", signature: "s" }] },
        { reasoning_details: [{ type: "reasoning.encrypted", index: 1, data: "x" }] },
      ],
      {
        reasoning_details: [
          { type: "reasoning.text", index: 0, text: "need data", signature: "s" },
          { type: "reasoning.encrypted", index: 1, data: "x" },
        ],
      },
    ],
    [
      "thinking_blocks",
      [
        { thinking_blocks: [{ type: "thinking", thinking: "need " }] },
        { thinking_blocks: [{ type: "thinking", thinking: "data", signature: "s" }] },
        { thinking_blocks: [{ type: "thinking", thinking: "more", signature: "t" }] },
      ],
      {
        thinking_blocks: [
          { type: "thinking", thinking: "need data", signature: "s" },
          { type: "thinking", thinking: "more", signature: "t" },
        ],
      },
    ],
    ["reasoning_opaque", [{ reasoning_opaque: "x" }], { reasoning_opaque: "x" }],
  ])("gets %s back with its call, under the same name", async (_, deltas, expected) => {
    const thought = deltas.map((delta) => chunk(delta)).join("");
    const result = await runStep(server, agent, [thought + call('{"q":"a"}'), text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
    expect(assistantOf(1)).toMatchObject(expected);
    expect(Object.keys(assistantOf(1) ?? {}).filter((name) => /reasoning|thinking/.test(name))).toEqual(
      Object.keys(expected),
    );
  });

  // Fails when the thoughts of Mistral's models go back in a field that Mistral does not take.
  test("gets content back that is a list, as that list", async () => {
    const thought = (said: string) => ({ type: "thinking", thinking: [{ type: "text", text: said }] });
    const stream =
      chunk({ content: [thought("need ")] }) +
      chunk({ content: [thought("data")] }) +
      chunk({ content: "I look." });
    const result = await runStep(server, agent, [stream + call('{"q":"a"}'), text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
    expect(assistantOf(1)?.["content"]).toEqual([thought("need data"), { type: "text", text: "I look." }]);
    expect(assistantOf(1)).not.toHaveProperty("reasoning_content");
  });

  test("gets the signature of a call back", async () => {
    const extra_content = { google: { thought_signature: "c2lnLTE=" } };
    const stream = callChunk('{"q":"a"}', { extra_content }) + chunk({}, "tool_calls") + DONE;
    expect(await runStep(server, agent, [stream, text("fine")])).toMatchObject({ response: "fine" });
    expect(assistantOf(1)).toMatchObject({ tool_calls: [{ id: "k1", extra_content }] });
  });

  // Fails when a text is lost, or takes the place of another one, because it does not go the way of the calls.
  test("gets its text back whole that stands around a call with a signature", async () => {
    const extra_content = { google: { thought_signature: "c2lnLTE=" } };
    const stream =
      chunk({ content: "I " }) +
      chunk({ content: "look." }) +
      callChunk('{"q":"a"}', { extra_content }) +
      chunk({ content: " Now." }) +
      chunk({}, "tool_calls") +
      DONE;
    expect(await runStep(server, agent, [stream, text("fine")])).toMatchObject({ response: "fine" });
    expect(assistantOf(1)).toMatchObject({
      content: "I look. Now.",
      tool_calls: [{ id: "k1", extra_content }],
    });
  });

  test("gets thoughts in its text back, which are no answer", async () => {
    const stream = chunk({ content: "<think>hm</think>I look." }) + call('{"q":"a"}');
    expect(await runStep(server, agent, [stream, text("fine")])).toMatchObject({ response: "fine" });
    expect(assistantOf(1)).toMatchObject({ content: "<think>hm</think>I look." });
  });
});

// Fails when an id stands for two calls: both then go back with the arguments of one, and Anthropic refuses the request.
test.each([an, go, oc])("%s: calls with one id, in an answer or in two, are two calls", async (model) => {
  const input = (q: string) => ({ q });
  const callOf = (q: string) =>
    model === an
      ? anthropicBlock(q === "a" ? 0 : 1, { type: "tool_use", id: "t", name: "lookup", input: input(q) })
      : callChunk(JSON.stringify(input(q)), { id: "t", index: q === "a" ? 0 : 1 });
  const twoCalls =
    model === go
      ? googleChunk(
          ["a", "b"].map((q) => ({ functionCall: { id: "t", name: "lookup", args: input(q) } })),
          "STOP",
        )
      : model === an
        ? anthropicStart() + callOf("a") + callOf("b") + anthropicEnd("tool_use")
        : callOf("a") + callOf("b") + chunk({}, "tool_calls") + DONE;
  const result = await runStep(server, { ...ag1, model }, [twoCalls, twoCalls, whole(model, "fine")]);
  expect(result).toMatchObject({
    response: "fine",
    toolCalls: [{ q: "a" }, { q: "b" }, { q: "a" }, { q: "b" }],
  });
  const sent = JSON.stringify(server.requests[2]?.body);
  const ids = [...sent.matchAll(/"(?:id|tool_call_id|tool_use_id)":"([^"]+)"/g)].map(([, id]) => id);
  expect(ids).toHaveLength(8);
  // Each id stands once for a call and once for its result, and the arguments are those of the calls.
  expect(new Set(ids).size).toBe(4);
  expect([...sent.matchAll(/\\?"q\\?":\\?"(.)/g)].map(([, q]) => q)).toEqual(["a", "b", "a", "b"]);
});

test("an: gets its thinking back with the signature, and what it redacted", async () => {
  const stream =
    anthropicStart() +
    anthropicBlock(
      0,
      { type: "thinking", thinking: "" },
      { type: "thinking_delta", thinking: "need data" },
      { type: "signature_delta", signature: "sig" },
    ) +
    anthropicBlock(1, { type: "redacted_thinking", data: "secret" }) +
    anthropicBlock(
      2,
      { type: "tool_use", id: "t1", name: "lookup", input: {} },
      { type: "input_json_delta", partial_json: '{"q":"a"}' },
    ) +
    anthropicEnd("tool_use");
  const result = await runStep(server, { ...ag1, model: an }, [stream, whole(an, "fine")]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
  expect(assistantOf(1)).toMatchObject({
    content: [
      { type: "thinking", thinking: "need data", signature: "sig" },
      { type: "redacted_thinking", data: "secret" },
      { type: "tool_use", id: "t1", input: { q: "a" } },
    ],
  });
});

test("go: gets the signatures of its calls and texts back", async () => {
  const first = googleChunk(
    [
      { text: "thinking", thought: true },
      { functionCall: { name: "lookup", args: { q: "a" } }, thoughtSignature: "c2lnLTE=" },
    ],
    "STOP",
  );
  const result = await runStep(server, { ...ag1, model: go }, [first, whole(go, "fine")]);
  expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
  expect(JSON.stringify(server.requests[1]?.body)).toContain('"thoughtSignature":"c2lnLTE="');
});

describe("blank text", () => {
  // Fails when text that is not empty but blank is sent.
  test("before a tool call is left out of the next request", async () => {
    const stream =
      anthropicStart() +
      anthropicText("\n", 0) +
      anthropicBlock(1, { type: "tool_use", id: "t1", name: "lookup", input: {} }) +
      anthropicEnd("tool_use");
    expect(await runStep(server, { ...ag1, model: an }, [stream, whole(an, "fine")])).toMatchObject({
      response: "fine",
    });
    expect(assistantOf(1)).toMatchObject({ content: [{ type: "tool_use", id: "t1" }] });
  });

  test("as a system prompt is left out, and a tool's blank answer is sent", async () => {
    const models = server.models();
    server.reset(whole(an, "fine"));
    await models.generate({
      model: an,
      messages: [
        { role: "system", content: "   " },
        { role: "user", content: "go" },
        { role: "assistant", content: " ", tool_calls: [{ id: "t1", name: "lookup", args: {} }] },
        { role: "tool", tool_call_id: "t1", tool_name: "lookup", content: " " },
      ],
      tools: [],
      toolChoice: "auto",
      effectKey: "k",
      signal: new AbortController().signal,
      onText: () => {},
    });
    expect(server.requests[0]?.body).not.toHaveProperty("system");
    const sent = JSON.stringify(server.requests[0]?.body.messages);
    expect(sent).not.toContain('"text":" "');
    expect(sent).toMatch(
      /"type":"tool_result","tool_use_id":"t1","content":(?:" "|\[\{"type":"text","text":" "\}\])/,
    );
  });
});

// What goes back may be refused: Groq and Cerebras take no thoughts, though their models think, and a signature of Anthropic's belongs to
// the model that made it, which a budget may have replaced since.
describe("what a server refuses although it could do without it", () => {
  const ok = (response: ServerResponse, body: string) =>
    void response.writeHead(200, { "content-type": "text/event-stream" }).end(body);
  const refusing =
    (word: string, message: string, ...answers: string[]): Answer =>
    (response, request) =>
      JSON.stringify(request.body).includes(`"${word}"`)
        ? refusal(400, { error: { message, type: "invalid_request_error" } })(response, request)
        : ok(response, answers.length > 1 ? (answers.shift() ?? "") : (answers[0] ?? ""));
  const generate = (models: ReturnType<typeof server.models>, effectKey: string) =>
    models.generate({
      model: oc,
      messages: [{ role: "user", content: "go" }],
      tools: [],
      toolChoice: "auto",
      effectKey,
      tenant: TenantId.parse("acme"),
      signal: new AbortController().signal,
      onText: () => {},
    });
  const keys = () => server.requests.map(({ headers }) => headers["idempotency-key"]);

  test.each([
    ["reasoning", "('messages.1' : property 'reasoning' is unsupported)"],
    ["reasoning_content", "property 'messages.2.assistant.reasoning_content' is unsupported"],
    [
      "reasoning_content",
      "extra_forbidden: Extra inputs are not permitted: body.messages.2.assistant.reasoning_content",
    ],
  ])("%s is left out after %j, and the worker remembers it", async (field, message) => {
    const thinks = (q: string) => chunk({ [field]: "hm" }) + call(`{"q":"${q}"}`);
    const result = await runStep(server, { ...ag1, model: oc }, [
      refusing(field, message, thinks("a"), thinks("b"), text("fine")),
    ]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }, { q: "b" }], retries: [] });
    // One request of the second turn was refused, and none of the third.
    expect(server.requests).toHaveLength(4);
    expect(new Set(keys()).size).toBe(4);
  });

  test("an: thinking whose signature is not taken is left out", async () => {
    const thinking = anthropicBlock(
      0,
      { type: "thinking", thinking: "" },
      { type: "thinking_delta", thinking: "hm" },
      { type: "signature_delta", signature: "s" },
    );
    const input = { type: "input_json_delta", partial_json: '{"q":"a"}' };
    const used = anthropicBlock(1, { type: "tool_use", id: "t", name: "lookup", input: {} }, input);
    const turn = anthropicStart() + thinking + used + anthropicEnd("tool_use");
    const refused = "messages.1.content.0: Invalid `signature` in `thinking` block";
    const script = refusing("thinking", refused, turn, whole(an, "fine"));
    const result = await runStep(server, { ...ag1, model: an }, [script]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }], retries: [] });
    expect(server.requests).toHaveLength(3);
  });

  test("the option that asks for counts of tokens is left out", async () => {
    const message = "Unrecognized request argument supplied: stream_options";
    const result = await runStep(server, { ...ag1, model: oc }, [
      refusing("stream_options", message, text("fine")),
    ]);
    expect(result).toMatchObject({ response: "fine", retries: [], isEstimated: true });
    expect(server.requests).toHaveLength(2);
  });

  // Fails when a later try, after the refusal, sends the request without the field under the key of the refused one: a server
  // that knows the key refuses another body under it, and a call that was carried out has another key.
  test("is left out under a key of its own, which each try has", async () => {
    const bodies = new Map<string, string>();
    let carriedOut = 0;
    const keyed: Answer = (response, request) => {
      const key = String(request.headers["idempotency-key"]);
      const body = JSON.stringify(request.body);
      if ((bodies.get(key) ?? body) !== body)
        return refusal(400, { error: { message: "key of another request" } })(response, request);
      bodies.set(key, body);
      if (body.includes('"stream_options"'))
        return refusal(400, { error: { message: "unknown field stream_options" } })(response, request);
      carriedOut += 1;
      // The first is carried out, and its answer is lost.
      if (carriedOut === 1) return void response.socket?.destroy();
      ok(response, text("fine"));
    };
    const result = await runStep(server, { ...ag1, model: oc }, [keyed]);
    expect(result).toMatchObject({ response: "fine", retries: ["model_unreachable"] });
    const [key] = keys();
    const without = `${String(key)}.without.stream_options`;
    expect(keys()).toEqual([key, without, key, without]);
  });

  test("is left out under that key from the beginning once the worker knows of the refusal", async () => {
    const models = server.models();
    const refuses = refusing("stream_options", "unknown field stream_options", text("fine"));
    server.reset(refuses);
    await generate(models, "one");
    await generate(models, "two");
    expect(keys()).toEqual(["one", "one.without.stream_options", "two.without.stream_options"]);
  });

  // Fails when a refusal that quotes the request is taken for one of each field that it quotes: no later answer has counts of tokens.
  test("is not remembered when the request is refused without it too", async () => {
    const quoting: Answer = (response, request) =>
      refusal(422, { error: { message: "temperature: too high", input: request.body } })(response, request);
    const models = server.models();
    server.reset(quoting);
    await expect(generate(models, "one")).rejects.toMatchObject({ code: "model_bad_request" });
    server.reset(text("fine"));
    expect(await generate(models, "two")).toMatchObject({ text: "fine" });
    expect(server.requests).toMatchObject([{ body: { stream_options: { include_usage: true } } }]);
  });

  test("is not left out of a request without it: the refusal is reported", async () => {
    const message = "property 'reasoning' is unsupported";
    const result = await runStep(server, { ...ag1, model: oc }, [refusal(400, { error: { message } })]);
    expect(result).toMatchObject({ code: "model_bad_request" });
    expect(server.requests).toHaveLength(1);
  });
});
