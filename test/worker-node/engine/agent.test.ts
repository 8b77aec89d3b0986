import { describe, expect, test } from "vitest";
import { usageOfTurn } from "../../../worker-node/engine/conversation-turns.ts";
import { RetryableError, TerminalError, ToolRejection } from "../../../worker-node/engine/step-errors.ts";
import { run, step, fakeContext } from "./context.ts";
import type { Json } from "../../../shared/contracts/json.ts";

const fields = {
  type: "agent",
  agent_id: "agent_1",
  prompt_template: "Find it.",
  output_key: "out",
  max_turns: 3,
};
const agents = {
  agent_1: { id: "agent_1", name: "A", system_prompt: "You are secret.", tools: ["search", "fetch"] },
};
const search = { calls: [{ name: "search", args: { query: "q" } }] };
const tools = { search: (): Json => ({ hits: ["x"] }), fetch: (): Json => "page" };

describe("an agent", () => {
  test("calls tools until it answers, and its events do not contain its system prompt", async () => {
    const { context, modelCalls, toolCalls, noted } = fakeContext({
      agents,
      tools,
      answers: [{ text: "I search.", ...search }, "Found."],
    });
    const result = await run(step(fields), context);
    expect(result).toMatchObject({
      set: { out: "Found." },
      response: "Found.",
      events: [{ type: "final", intent: "agent", response: "Found." }],
      usage: [{ call: "model.2" }],
      effects: ["run_1:s:1:model.1", "run_1:s:1:tool.1.1", "run_1:s:1:model.2"],
    });
    expect(modelCalls[0]).toMatchObject({ tools: ["search", "fetch"], toolChoice: "auto" });
    expect(toolCalls).toEqual([{ name: "search", args: { query: "q" }, effectKey: "run_1:s:1:tool.1.1" }]);
    expect(modelCalls[1]?.messages.at(-1)).toMatchObject({
      role: "tool",
      tool_name: "search",
      content: '{"hits":["x"]}',
    });
    expect(noted.map((event) => event.type)).toEqual([
      "llm_thought",
      "tool_execution",
      "tool_result",
      "llm_delta",
    ]);
    expect(JSON.stringify([noted, result.events])).not.toContain("You are secret.");
  });

  // Fails when a model that asked whether there is such a thing reads an empty text.
  test("reads null where the answer of a tool is null", async () => {
    const { context, modelCalls } = fakeContext({
      agents,
      tools: { ...tools, search: () => null },
      answers: [search, "ok"],
    });
    await run(step(fields), context);
    expect(modelCalls[1]?.messages.at(-1)).toMatchObject({ role: "tool", content: "null" });
  });

  test("makes all tool calls of one answer, in their order", async () => {
    const twoCalls = {
      calls: [
        { name: "fetch", args: {} },
        { name: "search", args: {} },
      ],
    };
    const { context, toolCalls } = fakeContext({ agents, tools, answers: [twoCalls, "ok"] });
    await run(step(fields), context);
    expect(toolCalls.map(({ name, effectKey }) => `${name} ${effectKey}`)).toEqual([
      "fetch run_1:s:1:tool.1.1",
      "search run_1:s:1:tool.1.2",
    ]);
  });

  test("continues after a crash at its last commit, and repeats no committed model call or tool call", async () => {
    const answers = [
      // Parts that only the provider understands are sent back after a crash too.
      { calls: [{ id: "c1", name: "search", args: { query: "q" } }], parts: { signature: "s" } },
      { calls: [{ id: "c2", name: "fetch", args: {} }] },
      "done",
    ];
    const whole = fakeContext({ agents, tools, answers });
    const expected = await run(step(fields), whole.context);
    expect(whole.committedTurns).toHaveLength(4);

    for (let crashAtTurn = 1; crashAtTurn <= 4; crashAtTurn++) {
      const before = fakeContext({ agents, tools, answers, crashAtTurn });
      await expect(run(step(fields), before.context)).rejects.toThrow("crash");
      const turns = before.committedTurns.map((turn) => turn.data);
      const answered = turns.flatMap((data) => usageOfTurn(data)).length;
      const after = fakeContext({ agents, tools, answers: answers.slice(answered), turns });
      const result = await run(step(fields), after.context);
      expect(result.set).toEqual(expected.set);
      expect(result.effects).toEqual(expected.effects);
      // A committed call is not repeated; another one is repeated under its old key.
      expect(after.modelCalls).toHaveLength(3 - answered);
      expect(after.modelCalls.map((call) => call.effectKey)).toEqual(
        whole.modelCalls.slice(answered).map((call) => call.effectKey),
      );
      expect(after.modelCalls.at(-1)?.messages).toEqual(whole.modelCalls.at(-1)?.messages);
      expect(after.modelCalls.at(-1)?.messages[2]).toMatchObject({ parts: { signature: "s" } });
    }
  });

  test("that still calls tools after max_turns answers fails", async () => {
    const { context, modelCalls } = fakeContext({ agents, tools, answers: [search, search, search] });
    await expect(run(step(fields), context)).rejects.toMatchObject({
      name: "TerminalError",
      code: "max_turns",
    });
    expect(modelCalls).toHaveLength(3);
  });

  test.each([
    [2, 15, 2],
    [20, undefined, 15],
    [5, 2, 2],
    [undefined, 3, 3],
  ])("that may have %s turns fails in a step of %s after %i", async (agentTurns, stepTurns, turns) => {
    const agent = { ...agents.agent_1, max_turns: agentTurns ?? null };
    const { context, modelCalls } = fakeContext({
      agents: { agent_1: agent },
      tools,
      answers: Array.from({ length: 20 }, () => search),
    });
    await expect(run(step({ ...fields, max_turns: stepTurns }), context)).rejects.toMatchObject({
      code: "max_turns",
    });
    expect(modelCalls).toHaveLength(turns);
  });

  test.each([null, "", "null", []])(
    "that gives no arguments as %j calls its tool with none",
    async (args) => {
      const answers = [{ calls: [{ name: "search", args }] }, "ok"];
      const { context, toolCalls } = fakeContext({ agents, tools, answers });
      await run(step(fields), context);
      expect(toolCalls).toMatchObject([{ args: {} }]);
    },
  );

  test("gets a sentence for each missing or wrong argument, and the tool is called with arguments of its types alone", async () => {
    const answers = [
      { calls: [{ name: "search", args: {} }] },
      { calls: [{ name: "search", args: { query: ["tea"] } }] },
      { calls: [{ name: "search", args: null }] },
      // The model has written another type than the schema's, and its meaning is plain.
      { calls: [{ name: "search", args: { query: 7, filter: '{"year": "2026"}' } }] },
      "ok",
    ];
    const fake = fakeContext({ agents, tools, answers });
    const context = {
      ...fake.context,
      tool: async (name: string) => ({
        name,
        tool_type: "http",
        url: "https://example.com/",
        inputSchema: {
          type: "object",
          properties: {
            query: { type: "string" },
            filter: { type: "object", properties: { year: { type: "integer" } } },
          },
          required: ["query"],
        },
      }),
    };
    await run(step({ ...fields, max_turns: 5 }), context);
    expect(fake.toolCalls).toMatchObject([{ args: { query: "7", filter: { year: 2026 } } }]);
    const reasons = fake.modelCalls.slice(1).map(({ messages }) => messages.at(-1)?.content);
    expect(reasons[0]).toContain("the argument query is missing");
    expect(reasons[1]).toContain("the argument query must be of type string");
    expect(reasons[2]).toContain("the argument query is missing");
  });

  test("gets the reason when an answer was too large, and goes on with other arguments", async () => {
    let calls = 0;
    const large = {
      ...tools,
      search: (): Json => {
        calls += 1;
        if (calls === 1) throw new ToolRejection("the answer is over 1 MiB", { code: "answer_too_large" });
        return "small";
      },
    };
    const { context, modelCalls } = fakeContext({ agents, tools: large, answers: [search, search, "ok"] });
    expect((await run(step(fields), context)).response).toBe("ok");
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain("over 1 MiB");
  });

  test("has its own tools, restricted by the step, and gets a reason when it calls another", async () => {
    const { context, modelCalls, toolCalls } = fakeContext({ agents, tools, answers: [search, "ok"] });
    await run(step({ ...fields, allowed_tools: ["fetch", "bash"] }), context);
    expect(modelCalls[0]?.tools).toEqual(["fetch"]);
    expect(toolCalls).toEqual([]);
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain('no tool "search"');
  });

  test("gets the reason when a tool refuses a call, and fails when a tool is unreachable", async () => {
    const refusing = {
      ...tools,
      search: () => {
        throw new ToolRejection("bad query");
      },
    };
    const refused = fakeContext({ agents, tools: refusing, answers: [search, "ok"] });
    await run(step(fields), refused.context);
    expect(refused.modelCalls[1]?.messages.at(-1)?.content).toContain("bad query");

    const unreachable = {
      ...tools,
      search: () => {
        throw new RetryableError("tool_unavailable", "503");
      },
    };
    const failing = fakeContext({ agents, tools: unreachable, answers: [search] });
    await expect(run(step(fields), failing.context)).rejects.toMatchObject({ code: "tool_unavailable" });
    // The answer is committed: the retry repeats the tool call without calling the model.
    expect(failing.committedTurns).toHaveLength(1);
  });

  // Fails when an agent that could go on without a tool ends with it: other tries of the step are over then.
  test.each([
    [true, "It was not carried out."],
    [false, "It may have been carried out all the same."],
  ])("gets an outage in the step's last try, answered %s, as the call's result", async (answered, note) => {
    const down = () => {
      throw new RetryableError("tool_unavailable", "the tool answered HTTP 503", { answered });
    };
    const answers = [search, "ok"];
    const last = fakeContext({ agents, tools: { ...tools, search: down }, answers, isLastTry: true });
    expect(await run(step(fields), last.context)).toMatchObject({ response: "ok" });
    expect(last.modelCalls[1]?.messages.at(-1)?.content).toBe(
      `The call has no result: the tool answered HTTP 503. ${note}`,
    );
  });

  // Fails when the model gets only the beginning of a refusal, or more than a result may have.
  test("gets the whole text of a refusal by a tool, within the limit of a result", async () => {
    const refusalOf = (chars: number) => {
      const refusing = {
        ...tools,
        search: (): Json => {
          throw new ToolRejection("bad", { whole: `bad ${"x".repeat(chars)}.` });
        },
      };
      return fakeContext({ agents, tools: refusing, answers: [search, "ok"] });
    };
    const [whole, long] = [refusalOf(2_000), refusalOf(200_000)];
    await run(step(fields), whole.context);
    await run(step(fields), long.context);
    expect(whole.modelCalls[1]?.messages.at(-1)?.content).toMatch(/bad x{2000}\.$/);
    expect(long.modelCalls[1]?.messages.at(-1)?.content.length).toBeLessThan(101_000);
  });

  // Fails when one slow call ends the run, or when the reply to the model does not say that the call may have been carried out.
  test("gets the reason when a call took too long, and goes on; the call is not repeated", async () => {
    let calls = 0;
    const slow = {
      ...tools,
      search: (): Json => {
        calls += 1;
        if (calls === 1) throw new RetryableError("tool_timeout", "host.internal did not answer in 30 s");
        return "found";
      },
    };
    const fake = fakeContext({ agents, tools: slow, answers: [search, search, "ok"] });
    expect((await run(step(fields), fake.context)).response).toBe("ok");
    const reply = fake.modelCalls[1]?.messages.at(-1);
    expect(reply).toMatchObject({ role: "tool", content: expect.stringContaining("did not answer in time") });
    expect(reply?.content).toContain("may have been carried out");
    expect(reply?.content).not.toContain("host.internal");
    expect(fake.toolCalls.map(({ effectKey }) => effectKey)).toEqual([
      "run_1:s:1:tool.1.1",
      // The model repeats the call: a tool that has carried it out knows the key.
      "run_1:s:1:tool.1.1",
    ]);
    expect(fake.noted).toContainEqual(
      expect.objectContaining({ type: "tool_result", preview: expect.stringContaining("in time") }),
    );
  });

  // Fails when a tool whose key is wrong, or not for these arguments, ends the run of an agent that could go on without it.
  test.each([
    ["tool_unauthorized", "the tool search answered HTTP 403: not your document"],
    ["tool_redirected", "the tool search answered HTTP 302: redirects are not followed"],
  ])("gets the reason of %s as its call's result, and goes on", async (code, message) => {
    const refusing = {
      ...tools,
      search: (): Json => {
        throw new TerminalError(code, message);
      },
    };
    const fake = fakeContext({ agents, tools: refusing, answers: [search, "ok"] });
    expect((await run(step(fields), fake.context)).response).toBe("ok");
    const reply = fake.modelCalls[1]?.messages.at(-1);
    expect(reply).toMatchObject({ role: "tool", content: expect.stringContaining(message) });
    expect(fake.toolCalls).toHaveLength(1);
  });

  test("publishes at most 500 characters of a tool's result", async () => {
    const long = { ...tools, search: () => "x".repeat(5_000) };
    const { context, noted } = fakeContext({ agents, tools: long, answers: [search, "ok"] });
    await run(step(fields), context);
    const [preview] = noted.flatMap((event) => (event.type === "tool_result" ? [event.preview] : []));
    expect(preview?.length).toBeLessThanOrEqual(500);
  });

  test.each([
    ["it does not exist", {}, "unknown_agent"],
    [
      "its definition cannot be used",
      { agent_1: { id: "agent_1", type: "orchestrator", name: "x" } },
      "bad_agent",
    ],
    [
      "one of its tools does not exist",
      { agent_1: { id: "agent_1", name: "A", tools: ["gone"] } },
      "unknown_tool",
    ],
  ])("fails when %s", async (_, broken, code) => {
    await expect(run(step(fields), fakeContext({ agents: broken, tools }).context)).rejects.toMatchObject({
      code,
    });
  });
});
