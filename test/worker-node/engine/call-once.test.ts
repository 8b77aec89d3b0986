import { describe, expect, test } from "vitest";
import type { Json } from "../../../shared/contracts/json.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { fakeContext, run, step } from "./context.ts";
import type { FakeContext } from "./context.ts";

const stored = {
  name: "pay",
  tool_type: "http",
  method: "POST",
  url: "https://bank.example.com/pay",
  inputSchema: { type: "object", properties: { amount: { type: "integer" } } },
  retry_safe: false,
};
const toolStep = { type: "tool", forced_tool: "pay", input_keys: ["amount"], output_key: "out" };
const agentStep = { type: "agent", agent_id: "a", output_key: "out" };
const paysFive = { calls: [{ name: "pay", args: { amount: 5 } }] };

function paying(
  fields: Parameters<typeof step>[0],
  { bank, ...options }: Parameters<typeof fakeContext>[0] & { bank: () => Json },
) {
  const agents = { a: { id: "a", name: "A", tools: ["pay"] } };
  const fake = fakeContext({ state: { amount: 5 }, agents, ...options, tools: { pay: bank } });
  return { ...fake, result: run(step(fields), { ...fake.context, tool: async () => stored }) };
}

const turnsOf = ({ committedTurns }: Pick<FakeContext, "committedTurns">): Json[] =>
  committedTurns.map(({ data }) => data);
const loseAnswer = (): Json => {
  throw new TerminalError("outcome_unknown", "the connection was closed without an answer");
};
const busy = (): Json => {
  throw new RetryableError("tool_unavailable", "HTTP 503", { answered: true });
};
const sealed = (): Json => {
  throw new RetryableError("tool_sealed", "the secrets of the tool cannot be opened");
};
const killed = (): Json => {
  throw new Error("the worker dies");
};

describe("a call of a tool that is not retry_safe", () => {
  test("is made once its beginning is committed", async () => {
    const paid = paying(toolStep, { bank: () => "paid" });
    expect(await paid.result).toMatchObject({ set: { out: "paid" } });
    expect(paid.committedTurns).toHaveLength(1);
    const died = paying(toolStep, { bank: () => "paid", crashAtTurn: 1 });
    await expect(died.result).rejects.toThrow("crash");
    expect(died.toolCalls).toEqual([]);
  });

  // Fails when a death between the call and its result repeats the call.
  test("is not made again after a crash: the step fails", async () => {
    const before = paying(toolStep, { bank: killed });
    await expect(before.result).rejects.toThrow("the worker dies");
    const after = paying(toolStep, { bank: () => "paid", turns: turnsOf(before) });
    await expect(after.result).rejects.toMatchObject({ name: "TerminalError", code: "outcome_unknown" });
    expect(after.toolCalls).toEqual([]);
  });

  test("is not made again after a crash: the agent gets that as the result of the call, and goes on", async () => {
    const before = paying(agentStep, { bank: killed, answers: [paysFive] });
    await expect(before.result).rejects.toThrow("the worker dies");
    const after = paying(agentStep, {
      bank: () => "paid",
      turns: turnsOf(before),
      answers: ["asked the bank"],
    });
    expect(await after.result).toMatchObject({ set: { out: "asked the bank" } });
    expect(after.toolCalls).toEqual([]);
    expect(JSON.stringify(after.modelCalls[0]?.messages)).toContain("carried out all the same");
  });

  // Fails when a model's repetition gets a key of its own: its call would be a second payment.
  test("is not made again by a model that repeats it after an unknown outcome", async () => {
    const { result, toolCalls } = paying(agentStep, {
      bank: loseAnswer,
      answers: [paysFive, paysFive, "gave up"],
    });
    expect(await result).toMatchObject({ set: { out: "gave up" } });
    expect(toolCalls).toHaveLength(1);
  });

  test.each<[string, () => Json]>([
    ["the tool refused the first call temporarily", busy],
    ["the worker could not open the tool's secrets", sealed],
  ])("is made again when %s", async (_, notMade) => {
    const before = paying(toolStep, { bank: notMade });
    await expect(before.result).rejects.toMatchObject({ name: "RetryableError", answered: true });
    const fake = fakeContext({ state: { amount: 5 }, turns: turnsOf(before), tools: { pay: () => "paid" } });
    const context = { ...fake.context, effectSuffix: ":1", tool: async () => stored };
    expect(await run(step(toolStep), context)).toMatchObject({ set: { out: "paid" } });
  });
});
