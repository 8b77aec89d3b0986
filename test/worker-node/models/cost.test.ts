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
