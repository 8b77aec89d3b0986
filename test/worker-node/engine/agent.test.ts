import { describe, expect, test } from "vitest";
import { usageOfTurn } from "../../../worker-node/engine/conversation.ts";
import { RetryableError, ToolRejection } from "../../../worker-node/engine/errors.ts";
import { run, step, world } from "./context.ts";
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
  test("calls tools until it answers, and shows what it does without its system prompt", async () => {
    const { context, asked, called, shown } = world({
      agents,
      tools,
      says: [{ text: "I search.", ...search }, "Found."],
    });
    const result = await run(step(fields), context);
    expect(result).toMatchObject({
      set: { out: "Found." },
      response: "Found.",
      events: [{ type: "final", intent: "agent", response: "Found." }],
      usage: [{ call: "model.2" }],
      effects: ["run_1:s:1:model.1", "run_1:s:1:tool.1.1", "run_1:s:1:model.2"],
    });
    expect(asked[0]).toMatchObject({ tools: ["search", "fetch"], toolChoice: "auto" });
    expect(called).toEqual([{ name: "search", args: { query: "q" }, effectKey: "run_1:s:1:tool.1.1" }]);
    expect(asked[1]?.messages.at(-1)).toMatchObject({
      role: "tool",
      tool_name: "search",
      content: '{"hits":["x"]}',
    });
    expect(shown.map((event) => event.type)).toEqual([
      "llm_thought",
      "tool_execution",
      "tool_result",
      "llm_delta",
    ]);
    expect(JSON.stringify([shown, result.events])).not.toContain("You are secret.");
  });

  test("makes all calls of one answer, in their order", async () => {
    const both = {
      calls: [
        { name: "fetch", args: {} },
        { name: "search", args: {} },
      ],
    };
    const { context, called } = world({ agents, tools, says: [both, "ok"] });
    await run(step(fields), context);
    expect(called.map(({ name, effectKey }) => `${name} ${effectKey}`)).toEqual([
      "fetch run_1:s:1:tool.1.1",
      "search run_1:s:1:tool.1.2",
    ]);
  });

  test("goes on after a crash where its last commit was, without asking or calling again", async () => {
    const says = [
      { calls: [{ id: "c1", name: "search", args: { query: "q" } }] },
      { calls: [{ id: "c2", name: "fetch", args: {} }] },
      "done",
    ];
    const whole = world({ agents, tools, says });
    const expected = await run(step(fields), whole.context);
    expect(whole.committed).toHaveLength(4);

    for (let crashAtTurn = 1; crashAtTurn <= 4; crashAtTurn++) {
      const before = world({ agents, tools, says, crashAtTurn });
      await expect(run(step(fields), before.context)).rejects.toThrow("crash");
      const turns = before.committed.map((turn) => turn.data);
      const answered = turns.flatMap((data) => usageOfTurn(data)).length;
      const after = world({ agents, tools, says: says.slice(answered), turns });
      const result = await run(step(fields), after.context);
      expect(result.set).toEqual(expected.set);
      expect(result.effects).toEqual(expected.effects);
      // What was committed is not asked again; what was not goes out under the key it had.
      expect(after.asked).toHaveLength(3 - answered);
      expect(after.asked.map((ask) => ask.effectKey)).toEqual(
        whole.asked.slice(answered).map((ask) => ask.effectKey),
      );
      expect(after.asked.at(-1)?.messages).toEqual(whole.asked.at(-1)?.messages);
    }
  });

  test("that is still calling tools after max_turns has failed", async () => {
    const { context, asked } = world({ agents, tools, says: [search, search, search] });
    await expect(run(step(fields), context)).rejects.toMatchObject({
      name: "TerminalError",
      code: "max_turns",
    });
    expect(asked).toHaveLength(3);
  });

  test("has its own tools, narrowed by the step, and is told when it calls another", async () => {
    const { context, asked, called } = world({ agents, tools, says: [search, "ok"] });
    await run(step({ ...fields, allowed_tools: ["fetch", "bash"] }), context);
    expect(asked[0]?.tools).toEqual(["fetch"]);
    expect(called).toEqual([]);
    expect(asked[1]?.messages.at(-1)?.content).toContain('no tool "search"');
  });

  test("is told why a tool refuses a call, and fails when a tool is away", async () => {
    const refusing = {
      ...tools,
      search: () => {
        throw new ToolRejection("bad query");
      },
    };
    const told = world({ agents, tools: refusing, says: [search, "ok"] });
    await run(step(fields), told.context);
    expect(told.asked[1]?.messages.at(-1)?.content).toContain("bad query");

    const away = {
      ...tools,
      search: () => {
        throw new RetryableError("tool_unavailable", "503");
      },
    };
    const failing = world({ agents, tools: away, says: [search] });
    await expect(run(step(fields), failing.context)).rejects.toMatchObject({ code: "tool_unavailable" });
    // The answer is kept: the retry makes the call again, and asks nobody for it.
    expect(failing.committed).toHaveLength(1);
  });

  test("shows at most 500 characters of what a tool answers", async () => {
    const long = { ...tools, search: () => "x".repeat(5_000) };
    const { context, shown } = world({ agents, tools: long, says: [search, "ok"] });
    await run(step(fields), context);
    const [preview] = shown.flatMap((event) => (event.type === "tool_result" ? [event.preview] : []));
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
    await expect(run(step(fields), world({ agents: broken, tools }).context)).rejects.toMatchObject({ code });
  });
});
