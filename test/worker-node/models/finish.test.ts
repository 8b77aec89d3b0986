import { describe, expect, test } from "vitest";
import { aProvider, ag1, runStep } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicEnd,
  anthropicStart,
  anthropicText,
  call,
  callChunk,
  chunk,
  counts,
  event,
  go,
  googleChunk,
  oa,
  oc,
  text,
  whole,
} from "./provider-server.ts";

const { server, run } = aProvider();

function ending(model: string, word: string): string {
  const content = "The total is ";
  if (model === an) return anthropicStart() + anthropicText(content) + anthropicEnd(word);
  return model === go ? googleChunk([{ text: content }], word) : chunk({ content }) + chunk({}, word) + DONE;
}

describe("an answer whose finish reason", () => {
  // Fails when a word that the SDK does not know counts as finished.
  test.each([
    [oc, "abort"],
    [oa, "abort"],
    [oc, "error"],
    [oc, "insufficient_system_resource"],
    [oc, "a_word_of_next_year"],
    [oc, "FinishReason.OTHER"],
    [go, "OTHER"],
    [go, "UNEXPECTED_TOOL_CALL"],
    [go, "FINISH_REASON_UNSPECIFIED"],
    [an, "a_word_of_next_year"],
    [an, "pause_turn"],
  ])("%s: is %s is cut, and tried again", async (model, word) => {
    const result = await run(model, ending(model, word), whole(model, "The total is 42"));
    expect(result).toMatchObject({ response: "The total is 42", retries: ["model_cut"] });
    expect(server.requests).toHaveLength(2);
    // The provider has answered this call, so the next try is another call with a key of its own.
    expect(server.requests[1]?.headers["idempotency-key"]).not.toBe(
      server.requests[0]?.headers["idempotency-key"],
    );
  });

  test.each([
    [oc, "stop"],
    [oc, "eos_token"],
    [oc, "eos"],
    [oc, ""],
    [oc, "end_turn"],
    [oc, "STOP"],
    [oc, "FinishReason.STOP"],
    [oc, "endTurn"],
    [oc, "stopSequence"],
    [oc, "COMPLETE"],
    [an, "stop_sequence"],
    [go, "STOP"],
    [oc, "STOP_CRITERIA_MET"],
    [oc, "stop_sequence_reached"],
    [oc, "endoftext"],
    [oc, "eosFound"],
    [oc, "stopStringFound"],
    [oc, "FINISH_REASON_STOP"],
  ])("%s: is %j is complete", async (model, word) => {
    expect(await run(model, ending(model, word))).toMatchObject({ response: "The total is ", retries: [] });
  });

  test.each([
    [oc, "length", "output_limit"],
    [oc, "maxPredictedTokensReached", "output_limit"],
    [oc, "contextLengthReached", "output_limit"],
    [oc, "FINISH_REASON_MAX_TOKENS", "output_limit"],
    [oc, "ERROR_LIMIT", "output_limit"],
    [oc, "max_tokens", "output_limit"],
    [oc, "model_length", "output_limit"],
    [oc, "maxTokens", "output_limit"],
    [oc, "contentFilter", "content_filter"],
    [an, "model_context_window_exceeded", "output_limit"],
    [go, "MAX_TOKENS", "output_limit"],
    [oc, "content_filter", "content_filter"],
    [oc, "sensitive", "content_filter"],
    [an, "refusal", "content_filter"],
    [go, "PROHIBITED_CONTENT", "content_filter"],
    [go, "LANGUAGE", "content_filter"],
    [go, "MODEL_ARMOR", "content_filter"],
    [oc, "maximum_tokens", "output_limit"],
  ])("%s: is %s ends the step as %s", async (model, word, code) => {
    expect(await run(model, ending(model, word))).toMatchObject({ status: "failed", code, retries: [] });
    expect(server.requests).toHaveLength(1);
  });

  test("is missing is cut, also where the provider says that nothing follows", async () => {
    const result = await run(oc, chunk({ content: "Half" }) + DONE, text("all"));
    expect(result).toMatchObject({ response: "all", retries: ["model_cut"] });
  });

  test("is named in the error where the provider has a word for it", async () => {
    const result = await run(go, googleChunk([], "MALFORMED_FUNCTION_CALL"));
    expect(result).toMatchObject({ code: "model_cut" });
    expect(result.message).toContain("finish reason MALFORMED_FUNCTION_CALL");
  });

  // Fails when the last finish reason decides, also where it is empty.
  test.each(["length", "abort"])(
    "is %s in one event, and empty in the events around it, is not complete",
    async (word) => {
      const stream =
        chunk({ content: "Half" }, "") +
        chunk({}, word) +
        chunk({}, "") +
        event({ choices: [{ index: 0, delta: {}, finish_reason: null }] }) +
        DONE;
      const code = word === "length" ? "output_limit" : "model_cut";
      expect(await run(oc, stream)).toMatchObject({ status: "failed", code });
    },
  );

  // Fails when a cut of a call's arguments is reported to the model as its own mistake.
  test.each([
    ["abort", { response: "fine", retries: ["model_cut"], toolCalls: [] }],
    ["length", { status: "failed", code: "output_limit", toolCalls: [] }],
  ])("is %s inside a call's arguments is no mistake of the model", async (word, expected) => {
    const half = callChunk('{"q":"a') + chunk({}, word) + DONE;
    expect(await runStep(server, ag1, [half, text("fine")])).toMatchObject(expected);
  });

  test("promises a call that is not there is no answer", async () => {
    const result = await runStep(server, ag1, [chunk({}, "tool_calls") + DONE, text("fine")]);
    expect(result).toMatchObject({ response: "fine", retries: ["model_unreadable"] });
  });
});

describe("an answer with nothing in it", () => {
  const empty = (model: string) =>
    model === an
      ? anthropicStart({ input_tokens: 9, output_tokens: 0 }) + anthropicEnd("end_turn", { output_tokens: 0 })
      : model === go
        ? event({ candidates: [{ finishReason: "STOP" }], usageMetadata: { promptTokenCount: 9 } })
        : chunk({ content: "" }) + chunk({}, "stop") + counts(9, 0) + DONE;

  // Fails when it is taken for final.
  test.each([oc, oa, an, go])("%s: is tried again, and charged", async (model) => {
    const result = await run(model, empty(model), whole(model, "ok"));
    expect(result).toMatchObject({ status: "completed", response: "ok", retries: ["empty_answer"] });
    expect(result.tokens).toBeGreaterThanOrEqual(9);
    expect(server.requests[1]?.headers["idempotency-key"]).not.toBe(
      server.requests[0]?.headers["idempotency-key"],
    );
  });

  // Fails when invisible characters count as an answer.
  test.each(["\u200b", "\u200b\n\u2060", "\u0000", "\u00ad "])("is one of %j alone", async (content) => {
    expect(await run(oc, text(content), text("ok"))).toMatchObject({
      response: "ok",
      retries: ["empty_answer"],
    });
  });

  test("three times fails the step, and is charged three times", async () => {
    expect(await run(oc, empty(oc))).toMatchObject({ status: "failed", code: "empty_answer", tokens: 27 });
    expect(server.requests).toHaveLength(3);
  });

  test("beside thoughts names them: a server may take the whole answer for a thought", async () => {
    const thought = chunk({ reasoning_content: "4" }) + chunk({}, "stop") + DONE;
    expect((await run(oc, thought)).message).toContain("no text, and with thoughts");
  });

  test("in an agent's second turn does not repeat its tool call", async () => {
    const result = await runStep(server, ag1, [call('{"q":"a"}'), empty(oc), text("fine")]);
    expect(result).toMatchObject({ response: "fine", toolCalls: [{ q: "a" }] });
    expect(server.requests).toHaveLength(3);
  });

  test("that Google has blocked is final", async () => {
    const blocked = event({
      promptFeedback: { blockReason: "SAFETY" },
      usageMetadata: { promptTokenCount: 4 },
    });
    expect(await run(go, blocked)).toMatchObject({ code: "content_filter", retries: [], tokens: 4 });
    expect(server.requests).toHaveLength(1);
  });
});

describe("what a model thinks aloud in its text", () => {
  // Fails when it is kept in the output of an llm step.
  test.each([
    ['<think>{"d":1}</think>\n{"n":2}', '{"n":2}'],
    ["\n<thinking>hm</thinking>\n\nyes", "yes"],
    ["the prompt has the opening tag\n</think>\n\nyes", "yes"],
    ["say <think> in a sentence", "say <think> in a sentence"],
    ["<think> never closed", "<think> never closed"],
    ["<thin", "<thin"],
    ["<think>a</think><think>b</think>\nyes", "yes"],
    ["[THINK]hm[/THINK]yes", "yes"],
    ["<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>yes<|end_of_solution|>", "yes"],
    ["hm\n</thinking>\n<thought>b</thought>yes", "yes"],
    ["As XML:\n<think>\nhm\n</think>\nis one.", "As XML:\n<think>\nhm\n</think>\nis one."],
  ])("%j has the answer %j, in its deltas as in its result", async (content, answer) => {
    // One character at a time: a tag may come in pieces.
    const pieces = content
      .split("")
      .map((piece) => chunk({ content: piece }))
      .join("");
    expect(await run(oc, pieces + chunk({}, "stop") + DONE)).toMatchObject({
      response: answer,
      text: answer,
    });
  });

  test.each(["<think>hm</think>\n", "hm\n</think>\n"])("%j alone is an empty answer", async (thought) => {
    expect(await run(oc, text(thought), text("ok"))).toMatchObject({
      response: "ok",
      text: "ok",
      retries: ["empty_answer"],
    });
  });

  test("of an agent is no part of what it says beside its call", async () => {
    const stream = chunk({ content: "hm\n</think>\nI look." }) + call('{"q":"a"}');
    const result = await runStep(server, ag1, [stream, text("<think>hm</think>fine")]);
    expect(result).toMatchObject({ response: "fine", text: "fine", toolCalls: [{ q: "a" }] });
  });
});
