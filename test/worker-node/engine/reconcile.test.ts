import { describe, expect, test } from "vitest";
import { RetryableError, TerminalError, ToolRejection } from "../../../worker-node/engine/step-errors.ts";
import { fakeContext, run, step } from "./context.ts";
import type { FakeContext } from "./context.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";

const stored = {
  name: "pay",
  tool_type: "http",
  method: "POST",
  url: "https://bank.example.com/pay",
  inputSchema: { type: "object", properties: { amount: { type: "integer" } } },
  reconcile: { url: "https://bank.example.com/payments?key={effect_key}", found: "answer.payment ?? false" },
};
const KEY = "run_1:s:1:tool.1";
const toolStep = { type: "tool", forced_tool: "pay", input_keys: ["amount"], output_key: "out" };
const agentStep = { type: "agent", agent_id: "a", output_key: "out" };

/** A step with the tool. `bank` answers calls and questions, which have `effect_key` among their arguments. */
function paying(
  fields: JsonObject,
  options: Parameters<typeof fakeContext>[0] & { bank: (args: JsonObject) => Json },
) {
  const tools = {
    pay: (args: Json) =>
      options.bank(typeof args === "object" && args !== null && !Array.isArray(args) ? args : {}),
  };
  const evaluate = async (_: string, __: JsonObject, variables: JsonObject = {}): Promise<Json> => {
    const { answer } = variables;
    return typeof answer === "object" && answer !== null && "payment" in answer
      ? (answer["payment"] ?? false)
      : false;
  };
  const agents = { a: { id: "a", name: "A", tools: ["pay"] } };
  const fake = fakeContext({ state: { amount: 5 }, agents, evaluate, ...options, tools });
  const context = { ...fake.context, tool: async () => stored };
  return { ...fake, result: run(step(fields), context) };
}

const isQuestion = (args: JsonObject): boolean => "effect_key" in args;
const turnsOf = ({ committedTurns }: Pick<FakeContext, "committedTurns">): Json[] =>
  committedTurns.map(({ data }) => data);
const loseAnswer = (): Json => {
  throw new RetryableError("unreachable", "the connection was closed without an answer");
};

describe("a call of a tool that can be asked whether it has happened", () => {
  test("is made without a question when no earlier execution has begun it", async () => {
    const { result, toolCalls, committedTurns } = paying(toolStep, { bank: () => "paid" });
    expect(await result).toMatchObject({ set: { out: "paid" }, effects: [KEY] });
    expect(toolCalls).toEqual([{ name: "pay", args: { amount: 5 }, effectKey: KEY }]);
    expect(committedTurns).toHaveLength(1);
  });

  test("is not made before its beginning is committed", async () => {
    const { result, toolCalls } = paying(toolStep, { bank: () => "paid", crashAtTurn: 1 });
    await expect(result).rejects.toThrow("crash");
    expect(toolCalls).toEqual([]);
  });

  // Fails when a crash makes a run pay twice.
  test("is not repeated after a crash when the tool says that it has happened: the answer is its result", async () => {
    const before = paying(toolStep, { bank: loseAnswer });
    await expect(before.result).rejects.toMatchObject({ code: "unreachable" });
    const bank = (args: JsonObject): Json => (isQuestion(args) ? { payment: { id: 7 } } : "paid twice");
    const after = paying(toolStep, { bank, turns: turnsOf(before) });
    expect(await after.result).toMatchObject({ set: { out: { id: 7 } }, effects: [KEY] });
    expect(after.toolCalls).toEqual([
      { name: "pay", args: { effect_key: KEY }, effectKey: `${KEY}.reconcile` },
    ]);
  });

  test("is not repeated when the tool says that it has happened, and its answer is null", async () => {
    const before = paying(toolStep, { bank: loseAnswer });
    await expect(before.result).rejects.toThrow();
    const bank = (args: JsonObject): Json => (isQuestion(args) ? null : "paid twice");
    const after = paying(toolStep, { bank, turns: turnsOf(before), evaluate: async () => true });
    expect(await after.result).toMatchObject({ set: { out: null }, effects: [KEY] });
  });

  test.each<[string, () => Json]>([
    ["says no", () => ({ items: [] })],
    [
      "answers 404",
      () => {
        throw new ToolRejection("the tool pay answered HTTP 404", { status: 404 });
      },
    ],
  ])("is repeated under its key when the tool %s", async (_, no) => {
    const before = paying(toolStep, { bank: loseAnswer });
    await expect(before.result).rejects.toThrow();
    const after = paying(toolStep, {
      bank: (args) => (isQuestion(args) ? no() : "paid"),
      turns: turnsOf(before),
    });
    expect(await after.result).toMatchObject({ set: { out: "paid" } });
    expect(after.toolCalls.map(({ effectKey }) => effectKey)).toEqual([`${KEY}.reconcile`, KEY]);
    // The call's beginning was committed by the first execution, and not again.
    expect(after.committedTurns).toHaveLength(0);
  });

  test.each<[Error, string]>([
    [new ToolRejection("the tool pay answered HTTP 400", { status: 400 }), "reconcile_failed"],
    [new TerminalError("tool_unauthorized", "HTTP 401"), "reconcile_failed"],
    [new RetryableError("tool_unavailable", "HTTP 503", { answered: true }), "tool_unavailable"],
  ])("is not repeated while the tool does not say whether it has happened: %s", async (error, code) => {
    const before = paying(toolStep, { bank: loseAnswer });
    await expect(before.result).rejects.toThrow();
    const after = paying(toolStep, {
      bank: () => {
        throw error;
      },
      turns: turnsOf(before),
    });
    // The refusal of the question must not give the call a new key, under which no call was begun.
    const failed = await after.result.then(String, (reason: unknown) => reason);
    expect(failed).toMatchObject({ code });
    expect(failed).not.toMatchObject({ answered: true });
    expect(after.toolCalls).toHaveLength(1);
  });

  // Fails when a model that plans the call again after a timeout makes the run pay twice.
  test("keeps its key when the model plans it again after a timeout, and the question comes first", async () => {
    const call = { calls: [{ name: "pay", args: { amount: 5 } }] };
    const bank = (args: JsonObject): Json => {
      if (isQuestion(args)) return { payment: "found" };
      throw new RetryableError("tool_timeout", "the bank did not answer in 30 s");
    };
    const { result, toolCalls, modelCalls } = paying(agentStep, {
      bank,
      answers: [call, call, call, "Paid."],
    });
    expect((await result).response).toBe("Paid.");
    expect(toolCalls.map(({ effectKey }) => effectKey)).toEqual([
      "run_1:s:1:tool.1.1",
      "run_1:s:1:tool.1.1.reconcile",
      // The outcome of the call before is known, so this is another payment.
      "run_1:s:1:tool.3.1",
    ]);
    expect(modelCalls[2]?.messages.at(-1)).toMatchObject({ role: "tool", content: "found" });
  });

  // Fails when the answer to the question is stored as a file, of which `found` would read the reference.
  test("has the answer to the question in the run's data also when the tool's results are files", async () => {
    const before = paying(toolStep, { bank: loseAnswer });
    await expect(before.result).rejects.toThrow();
    const fake = fakeContext({
      state: { amount: 5 },
      turns: turnsOf(before),
      evaluate: async (_, __, { answer = null } = {}) => answer,
    });
    const context = {
      ...fake.context,
      tool: async () => ({ ...stored, response: "artifact" }),
      tools: {
        ...fake.context.tools,
        call: async ({ tool }: { tool: JsonObject }): Promise<Json> => tool["response"] ?? null,
      },
    };
    expect(await run(step(toolStep), context)).toMatchObject({ set: { out: "inline" } });
  });
});
