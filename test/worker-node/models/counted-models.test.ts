import { expect, test } from "vitest";
import type { ModelAnswer, ModelRequest } from "../../../worker-node/engine/ports.ts";
import { countedModels } from "../../../worker-node/models/counted-models.ts";
import { ProviderWait } from "../../../worker-node/models/provider-wait.ts";

const usage = {
  provider: "openai",
  model: "gpt-5",
  input_tokens: 10,
  output_tokens: 5,
  cost_micro_usd: 250_000,
};
const request: ModelRequest = {
  model: "gpt-5",
  messages: [],
  tools: [],
  toolChoice: "auto",
  effectKey: "key",
  signal: new AbortController().signal,
  onText: () => {},
};

/** What one call adds to the counters, by their names. */
async function countsOf(generate: (request: ModelRequest) => Promise<ModelAnswer>): Promise<unknown> {
  const counts: Record<string, number> = {};
  const add = (name: string, _labels: unknown, amount = 1): void => {
    counts[name] = (counts[name] ?? 0) + amount;
  };
  const models = countedModels({ generate }, { add, observe: (name) => add(name, {}) });
  await models.generate(request).catch(() => {});
  return counts;
}

const used = { synapse_model_tokens_total: 15, synapse_model_cost_usd_total: 0.25 };

// Fails when the money of calls that fail again and again is in no metric.
test("a model call counts with what it has used, once, whether it has an answer or fails", async () => {
  const answer = { text: "hi", tool_calls: [], usage };
  const answered = await countsOf(async ({ onUsage }) => {
    onUsage?.({ ...usage, output_tokens: 1 });
    return answer;
  });
  expect(answered).toEqual({ ...used, synapse_model_call_seconds: 1 });
  const cut = await countsOf(async ({ onUsage }) => {
    onUsage?.({ ...usage, output_tokens: 1 });
    onUsage?.(usage);
    throw new Error("the connection was lost");
  });
  expect(cut).toEqual(used);
});

test("a model call that has used nothing counts nothing but its wait for the provider", async () => {
  const waits = await countsOf(async () => {
    throw new ProviderWait("limit", { provider: "openai", model: "gpt-5" }, 1_000);
  });
  expect(waits).toEqual({ synapse_model_waits_total: 1 });
  const refused = await countsOf(async ({ onUsage }) => {
    onUsage?.(usage);
    onUsage?.(null);
    throw new Error("the request was refused");
  });
  expect(refused).toEqual({});
});
