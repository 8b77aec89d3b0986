import { describe, expect, test } from "vitest";
import { aProvider } from "./model-run.ts";
import {
  DONE,
  an,
  anthropicBlock,
  anthropicEnd,
  anthropicStart,
  chunk,
  counts,
  go,
  oc,
  text,
  whole,
} from "./provider-server.ts";

const { server, run } = aProvider();

const inPieces = (written: string, size: number) =>
  (written.match(new RegExp(`[\\s\\S]{1,${size}}`, "g")) ?? [])
    .map((content) => chunk({ content }))
    .join("") +
  chunk({}, "stop") +
  counts(3, 2) +
  DONE;

const thought = "<|channel|>analysis<|message|>They say hi. <|end|>";

describe("a token of the model's own language", () => {
  // Fails when the token is a part of the answer.
  test.each([
    ["at the end", "fine<|im_end|>"],
    ["of Llama", "fine<|eot_id|>"],
    ["of GPT-2", "fine<|endoftext|>\n"],
    ["of Mistral", "fine</s>"],
    ["of Gemma", "fine<end_of_turn>\n"],
    ["of GLM", "<|begin_of_box|>fine<|end_of_box|>"],
    ["of DeepSeek", "fine<｜end▁of▁sentence｜>"],
    ["twice", "fine<|im_end|>\n<|im_end|>"],
    ["of two kinds", "fine<|eot_id|></s>"],
    ["at the beginning", "<|im_start|>assistant\nfine"],
    ["of Llama's headers", "<|start_header_id|>assistant<|end_header_id|>\n\nfine"],
    ["at both ends", "</s>fine</s>"],
    ["of gpt-oss", `${thought}<|start|>assistant<|channel|>final<|message|>fine<|return|>`],
    [
      "of gpt-oss, after two thoughts",
      `${thought}<|start|>assistant${thought}<|start|>assistant<|channel|>final<|message|>fine`,
    ],
    [
      "of gpt-oss, without the first",
      "analysis<|message|>They say hi.<|end|><|start|>assistant<|channel|>final<|message|>fine",
    ],
    [
      "of gpt-oss, without a thought's beginning",
      "They say hi.<|end|><|start|>assistant<|channel|>final<|message|>fine<|end|>",
    ],
    ["of gpt-oss, in the final channel alone", "<|channel|>final<|message|>fine"],
    ["of gpt-oss, left out between names", "analysisThe user says hi.assistantfinalfine"],
    [
      "of gpt-oss, with a preamble",
      "<|channel|>commentary<|message|>I begin.<|end|><|start|>assistant<|channel|>final<|message|>fine",
    ],
  ])("is no part of the answer: %s", async (_, written) => {
    for (const size of [1, 3, 1_000]) {
      const result = await run(oc, inPieces(written, size));
      expect(result).toMatchObject({ response: "fine", text: "fine", retries: [], tokens: 5 });
    }
  });

  test.each([an, go])("is no part of the answer: %s", async (model) => {
    expect(await run(model, whole(model, "fine<|im_end|>"))).toMatchObject({
      response: "fine",
      text: "fine",
    });
  });

  test("is no part of a text between other blocks", async () => {
    const stream =
      anthropicStart() +
      anthropicBlock(
        0,
        { type: "text", text: "" },
        { type: "text_delta", text: "fi" },
        { type: "text_delta", text: "<" },
      ) +
      anthropicBlock(1, { type: "text", text: "" }, { type: "text_delta", text: "ne</s>" }) +
      anthropicEnd();
    expect(await run(an, stream)).toMatchObject({ response: "fi<ne", text: "fi<ne" });
  });

  // Fails when text about tokens loses them.
  test.each([
    "ChatML ends a turn with <|im_end|>, as in Hi<|im_end|>",
    "`<|im_end|>` ends a turn.",
    "<|im_end|> ends a turn.",
    "<s>old</s>",
    "It is <s>old</s>",
    "a < b",
    "a <|b|> c",
    "The mark is <|im_",
    "x<|channel|>final<|message|>y",
    "<|start|>user<|message|>Hi<|end|><|start|>assistant<|channel|>final<|message|>Hi",
    "<|channel|>",
    "analysis of the text",
    "analysisThe text",
    "final",
    "commentary<",
  ])("is text in %j", async (written) => {
    for (const size of [1, 3, 1_000]) {
      expect(await run(oc, inPieces(written, size))).toMatchObject({ response: written, text: written });
    }
  });

  test("alone is an empty answer", async () => {
    const result = await run(oc, text("<|im_end|>"), text("fine"));
    expect(result).toMatchObject({ response: "fine", retries: ["empty_answer"] });
    expect(server.requests).toHaveLength(2);
  });

  test("that leaves a thought alone is an empty answer", async () => {
    const result = await run(oc, text(thought), text("fine"));
    expect(result).toMatchObject({ response: "fine", retries: ["empty_answer"] });
  });
});
