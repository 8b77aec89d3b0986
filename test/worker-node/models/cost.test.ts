import { expect, test } from "vitest";
import { costMicroUsd } from "../../../worker-node/models/cost.ts";

test.each([
  ["gpt-4.1", { input: 1_000, cachedInput: 0, output: 100 }, 2_800],
  ["gpt-4.1", { input: 1_000, cachedInput: 1_000, output: 0 }, 500],
  ["gpt-4.1-2025-04-14", { input: 1, cachedInput: 0, output: 0 }, 2],
  ["claude-haiku-4-5-20251001", { input: 1, cachedInput: 0, output: 1 }, 6],
  ["gpt-4.1-nano", { input: 1, cachedInput: 0, output: 0 }, 1],
  ["gpt-4.1-nano", { input: 10, cachedInput: 0, output: 0 }, 1],
  ["gpt-4.1-nano", { input: 30, cachedInput: 0, output: 0 }, 3],
  // The first version of this model has a price of its own.
  ["gpt-4o-2024-05-13", { input: 1_000, cachedInput: 1_000, output: 100 }, 6_500],
  ["gpt-4o-2024-08-06", { input: 1_000, cachedInput: 1_000, output: 100 }, 2_250],
  // A prompt of more than 200,000 tokens raises the price of the whole call.
  ["gemini-2.5-pro", { input: 200_000, cachedInput: 0, output: 1_000 }, 260_000],
  ["gemini-2.5-pro", { input: 200_001, cachedInput: 100_000, output: 1_000 }, 290_003],
  ["claude-sonnet-4-5-20250929", { input: 300_000, cachedInput: 0, output: 0 }, 1_800_000],
  ["unheard-of", { input: 1_000, cachedInput: 0, output: 1_000 }, 0],
  ["constructor", { input: 1_000, cachedInput: 0, output: 1_000 }, 0],
  // NousResearch/hermes-agent PR 93678, BerriAI/litellm #10597: a long prompt makes the whole call dearer.
  ["gemini-2.5-pro", { input: 200_000, cachedInput: 0, output: 1_000 }, 260_000],
  ["gemini-2.5-pro", { input: 200_001, cachedInput: 0, output: 1_000 }, 515_003],
  ["gemini-2.5-pro-preview", { input: 300_000, cachedInput: 300_000, output: 0 }, 75_000],
  // A server that says that more was cached than was sent.
  ["gpt-4.1", { input: 1_000, cachedInput: 9_000, output: 0 }, 500],
])("a call of %s that used %j costs %i micro-dollars", (model, tokens, cost) => {
  expect(costMicroUsd({ provider: "openai", model }, tokens)).toBe(cost);
});
