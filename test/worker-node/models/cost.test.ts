import { expect, test } from "vitest";
import { retryAfterOf } from "../../../worker-node/models/model-error.ts";
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
])("%s for %j costs %i micro-dollars", (model, tokens, cost) => {
  expect(costMicroUsd(model, tokens)).toBe(cost);
});

test.each([
  [{ "retry-after": "7" }, 7_000],
  [{ "retry-after-ms": "1500", "retry-after": "7" }, 1_500],
  [{ "retry-after": "Thu, 01 Jan 1970 00:00:30 GMT" }, 20_000],
  [{ "retry-after": "Thu, 01 Jan 1970 00:00:01 GMT" }, 0],
  [{ "retry-after": "soon" }, undefined],
  [{}, undefined],
])("%j asks for %s ms", (headers, ms) => {
  expect(retryAfterOf(headers, 10_000)).toBe(ms);
});
