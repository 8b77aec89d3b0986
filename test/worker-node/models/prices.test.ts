import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ModelPrice } from "../../../shared/contracts/model-price.ts";
import { costMicroUsd } from "../../../worker-node/models/cost.ts";
import { Prices } from "../../../worker-node/models/prices.ts";

const price = (model: string, output: number, changes: Partial<ModelPrice> = {}): ModelPrice => ({
  model,
  input_usd_per_million: 1,
  cached_input_usd_per_million: null,
  output_usd_per_million: output,
  max_output_tokens: null,
  ...changes,
});
const message = { role: "user" as const, content: "x".repeat(3_000) };
const request = (model: string | null) => ({ model, messages: [message], tools: [] });

let stored: ModelPrice[];
let reads: number;
const open = () =>
  new Prices(
    async () => {
      reads += 1;
      return stored;
    },
    () => "demo/fast",
  );
beforeEach(() => {
  vi.useFakeTimers({ toFake: ["performance"] });
  [stored, reads] = [[], 0];
});
afterEach(() => vi.useRealTimers());

describe("the operator's prices", () => {
  // Fails when a worker keeps the prices that it has read first, or reads them before every call.
  test("act within 5 s, and are not read for each call", async () => {
    const prices = open();
    await prices.refresh();
    stored = [price("gpt-4.1", 1)];
    await prices.refresh();
    expect([reads, prices.replaced.size]).toEqual([1, 0]);
    vi.advanceTimersByTime(4_000);
    await prices.refresh();
    expect([reads, prices.replaced.size]).toEqual([2, 1]);
  });

  test("stay as they were while they cannot be read", async () => {
    stored = [price("gpt-4.1", 1)];
    let isAway = false;
    const prices = new Prices(
      async () => (isAway ? Promise.reject(new Error("away")) : stored),
      () => "demo/fast",
    );
    await prices.refresh();
    isAway = true;
    vi.advanceTimersByTime(10_000);
    await prices.refresh();
    expect(prices.replaced.size).toBe(1);
  });

  test("have precedence over the built-in ones, also for a dated version, and make a model without a price usable", async () => {
    stored = [price("gpt-4.1", 1), price("openai-compatible/vendor/x", 3)];
    const prices = open();
    await prices.refresh();
    const tokens = { input: 0, cachedInput: 0, output: 10 };
    const cost = (model: string) => costMicroUsd({ provider: "openai", model }, tokens, prices.replaced);
    expect([cost("gpt-4.1"), cost("gpt-4.1-2025-04-14"), cost("gpt-4.1-mini")]).toEqual([10, 10, 16]);
    expect(prices.errorOf("openai-compatible/vendor/x")).toBeNull();
    expect(prices.errorOf("openai-compatible/other")).toContain("openai-compatible/other");
  });
});

// Fails when the worst case of a call leaves out its prompt, an image of it, or the longest answer.
test("the worst case of a call is its prompt with images and the longest answer of its model", async () => {
  const prices = open();
  // 3,000 bytes are 1,000 tokens at most.
  expect(prices.quote(request("openai/gpt-4.1"))).toEqual({ cost: 1_000 * 2 + 32_768 * 8 });
  const withImages = { ...message, images: ["data:image/png;base64,AA==", "data:image/png;base64,AA=="] };
  expect(prices.quote({ model: "openai/gpt-4.1", messages: [withImages], tools: [] })).toEqual({
    cost: (1_000 + 2 * 5_000) * 2 + 32_768 * 8,
  });
  expect(prices.quote(request(null))).toEqual({ cost: 1_000 + 4_096 * 2 });
  // 750,000 bytes may be more than 200,000 tokens, beyond which the model is dearer.
  const long = { role: "user" as const, content: "x".repeat(750_000) };
  expect(prices.quote({ model: "gemini-2.5-pro", messages: [long], tools: [] })).toEqual({
    cost: 250_000 * 2.5 + 65_536 * 15,
  });
  expect(prices.quote(request("ollama/llama3"))).toEqual({ cost: 0 });
  expect(prices.quote(request("openai-compatible/vendor"))).toBeNull();
  stored = [price("openai/gpt-4.1", 8, { max_output_tokens: 100 })];
  await prices.refresh();
  expect(prices.quote(request("gpt-4.1"))).toEqual({ cost: 1_000 + 100 * 8, maxOutputTokens: 100 });
});
