import { describe, expect, test } from "vitest";
import { aProvider, ag1, runStep } from "./model-run.ts";
import { DONE, chunk, counts, event, go, googleChunk, oc, text, whole } from "./provider-server.ts";

const { server, run } = aProvider();

const args = '{"q":"a"}';
const made = { response: "fine", toolCalls: [{ q: "a" }], retries: [] };
const calls = (...tool_calls: object[]) => chunk({ tool_calls }) + chunk({}, "tool_calls") + DONE;
const item = (call_id: string) => ({ type: "function_call", call_id, name: "lookup", arguments: args });

// Fails when a call is made without its arguments, or the answer is requested again.
test.each([
  ["in `parameters`", calls({ index: 0, id: "x", function: { name: "lookup", parameters: { q: "a" } } })],
  ["in `input`", calls({ index: 0, id: "x", type: "tool_use", name: "lookup", input: { q: "a" } })],
  ["of a custom tool", calls({ index: 0, id: "x", type: "custom", custom: { name: "lookup", input: args } })],
  [
    "in an item of the content",
    chunk({ content: [{ type: "tool_use", id: "x", name: "lookup", input: { q: "a" } }] }, "tool_use") + DONE,
  ],
])("arguments are found %s", async (_, stream) => {
  expect(await runStep(server, ag1, [stream, text("fine")])).toMatchObject(made);
});

// Fails when the call is made with an empty object.
test("arguments that hold a number beyond all numbers are reported to the model", async () => {
  const call = calls({ index: 0, id: "x", function: { name: "lookup", arguments: '{"q":1e400}' } });
  expect(await runStep(server, ag1, [call, text("fine")])).toMatchObject({ ...made, toolCalls: [] });
  expect(JSON.stringify(server.requests[1]?.body.messages.at(-1))).toContain("must be one JSON object");
});

test("a call that the events before the whole response have not brought is made", async () => {
  const stream =
    event({ type: "response.output_item.done", item: item("x") }) +
    event({ type: "response.completed", response: { status: "completed", output: [item("x"), item("y")] } });
  const result = await runStep(server, ag1, [stream, text("fine")]);
  expect(result).toMatchObject({ ...made, toolCalls: [{ q: "a" }, { q: "a" }] });
});

// Equal calls of one answer are two calls, unless a gateway repeats one under its id.
test.each<[string, number, object, object]>([
  ["different ids at one index", 2, { index: 0, id: "x" }, { index: 0, id: "y" }],
  ["different ids without an index", 2, { id: "x" }, { id: "y" }],
  ["no ids at one index", 2, { index: 0 }, { index: 0 }],
  ["no ids and no index", 2, {}, {}],
  ["one id at two indices", 2, { index: 0, id: "x" }, { index: 1, id: "x" }],
  ["one id at one index", 1, { index: 0, id: "x" }, { index: 0, id: "x" }],
])("two equal calls with %s: %i of them are made", async (_, count, firstCall, secondCall) => {
  const fn = { type: "function", function: { name: "lookup", arguments: args } };
  const stream = chunk({ tool_calls: [{ ...firstCall, ...fn }] }) + calls({ ...secondCall, ...fn });
  const result = await runStep(server, ag1, [stream, text("fine")]);
  expect(result.toolCalls).toEqual(Array.from({ length: count }, () => ({ q: "a" })));
});

test("a text beside an empty delta is the answer", async () => {
  const choices = [{ index: 0, text: "fine", delta: { content: "" }, finish_reason: "stop" }];
  expect(await run(oc, event({ choices }) + DONE)).toMatchObject({ response: "fine", text: "fine" });
});

// Fails when half an answer is taken for the whole.
test("Groq's error beside a finish reason ends the answer", async () => {
  const half = chunk({ content: "Half" }) + chunk({}, "stop", { x_groq: { error: "over capacity" } }) + DONE;
  const result = await run(oc, half, text("whole"));
  expect(result).toMatchObject({ response: "whole", retries: [expect.stringMatching(/^model_/)] });
});

test("Google's fields under the names of protobuf are read", async () => {
  const call = {
    candidates: [{ content: { parts: [{ function_call: { name: "lookup", args: { q: "a" } } }] } }],
  };
  const end = {
    candidates: [{ finish_reason: "STOP" }],
    usage_metadata: { prompt_token_count: 3, candidates_token_count: 2 },
  };
  const script = [event(call) + event(end), whole(go, "fine")];
  expect(await runStep(server, { ...ag1, model: go }, script)).toMatchObject(made);
  expect(await run(go, googleChunk([{ text: "fine" }]) + event(end))).toMatchObject({
    response: "fine",
    tokens: 5,
  });
});

describe("an answer without text that holds", () => {
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
  const end = chunk({}, "stop") + counts(3, 1_290) + DONE;
  const google = { usageMetadata: { promptTokenCount: 3, candidatesTokenCount: 1_290 } };
  const data = { mimeType: "image/png", data: "AAAA" };

  // Fails when each try is paid for, and no error names the kind of the answer.
  test.each([
    ["images, as OpenRouter sends them", oc, chunk({ content: "", images: [image] }) + end, "image"],
    ["an item of an image", oc, chunk({ content: [image] }) + end, "image"],
    ["audio", oc, chunk({ audio: { id: "x", data: "AAAA" } }) + end, "audio"],
    ["an image of Google", go, googleChunk([{ inlineData: data }], "STOP", google), "image"],
  ])("%s, ends the step at once, and is charged", async (_, model, stream, kind) => {
    const result = await run(model, stream, whole(model, "fine"));
    expect(result).toMatchObject({ code: "answer_not_text", retries: [], tokens: 1_293 });
    expect(result.message).toContain(`no text, but ${kind}`);
    expect(server.requests).toHaveLength(1);
  });

  // Fails when the image is lost without a word.
  test("an image beside a text is left out, and the text says so", async () => {
    const stream = googleChunk([{ text: "fine" }, { inlineData: data }], "STOP");
    const said = "fine\n\n[image of this answer is left out: no step can take it]";
    expect(await run(go, stream)).toMatchObject({ response: said, text: said });
  });
});
