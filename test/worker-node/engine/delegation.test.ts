import { describe, expect, test } from "vitest";
import type { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import type { ChildReply } from "../../../worker-node/engine/ports.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { fakeContext, run, step } from "./context.ts";
import type { FakeAnswer } from "./context.ts";
import type { Json } from "../../../shared/contracts/json.ts";

const fields = {
  type: "agent",
  agent_id: "lead",
  prompt_template: "Report.",
  output_key: "out",
  max_turns: 4,
};
const agents = {
  lead: { id: "lead", name: "Lead", delegate_agent_ids: ["reader"], tools: ["save"], model: "test/lead" },
  reader: {
    id: "reader",
    name: "Reader",
    description: "Reads pages",
    system_prompt: "You read.",
    tools: ["search"],
    max_turns: 2,
  },
};
const tools = { search: (): Json => "page", save: (): Json => "saved" };
const calls = (...ids: string[]) =>
  ids.map((agent_id) => ({ name: "delegate_to_agent", args: { agent_id, task: `Task of ${agent_id}` } }));
const delegate = (...ids: string[]): FakeAnswer => ({ calls: calls(...ids) });
const childUsage = {
  call: "child.run_2",
  provider: "child_run",
  model: "run_2",
  input_tokens: 10,
  output_tokens: 5,
  cost_micro_usd: 7,
};
const completed = (response: Json) => ({
  status: "completed" as const,
  checkpoint: null,
  response,
  error: null,
});
const search: FakeAnswer = { text: "I search.", calls: [{ name: "search", args: { query: "q" } }] };

describe("a task that an agent gives to another one", () => {
  test("is done with the other agent's prompt and tools, and its answer is the result of the call", async () => {
    const fake = fakeContext({
      agents,
      tools,
      answers: [delegate("reader"), search, "It says tea.", "Tea."],
    });
    const result = await run(step(fields), fake.context);
    expect(result).toMatchObject({ response: "Tea.", set: { out: "Tea." } });
    expect(fake.modelCalls.map(({ effectKey, tools: offered }) => [effectKey, offered])).toEqual([
      ["run_1:s:1:model.1", ["save", "delegate_to_agent"]],
      ["run_1:s:1:tool.1.1.model.1", ["search"]],
      ["run_1:s:1:tool.1.1.model.2", ["search"]],
      ["run_1:s:1:model.2", ["save", "delegate_to_agent"]],
    ]);
    expect(fake.modelCalls[1]?.messages).toMatchObject([
      { role: "system", content: "You read." },
      { role: "user", content: "Task of reader" },
    ]);
    // An agent without a model of its own has that of the agent above it.
    expect(fake.modelCalls[1]?.model).toBe("test/lead");
    expect(fake.modelCalls.at(-1)?.messages.at(-1)).toMatchObject({ role: "tool", content: "It says tea." });
    expect(result.effects).toEqual([
      "run_1:s:1:model.1",
      "run_1:s:1:tool.1.1.model.1",
      "run_1:s:1:tool.1.1.tool.1.1",
      "run_1:s:1:tool.1.1.model.2",
      "run_1:s:1:model.2",
    ]);
  });

  test("has events that name both agents, and streams no text into the step's answer", async () => {
    const fake = fakeContext({
      agents,
      tools,
      answers: [delegate("reader"), search, "It says tea.", "Tea."],
    });
    await run(step(fields), fake.context);
    const names = { delegate_from: "lead", delegate_agent_id: "reader", delegate_agent_name: "Reader" };
    expect(fake.noted).toMatchObject([
      { type: "tool_execution", tool_name: "delegate_to_agent" },
      { type: "llm_thought", ...names },
      { type: "tool_execution", tool_name: "search", ...names },
      { type: "tool_result", tool_name: "search", ...names },
      { type: "tool_result", tool_name: "delegate_to_agent", preview: "It says tea." },
      { type: "llm_delta", text: "Tea." },
    ]);
    expect(fake.noted[0]).not.toHaveProperty("delegate_from");
  });

  test("continues after a crash at its last turn, and nothing that was committed is requested again", async () => {
    const answers = [delegate("reader"), search, "It says tea.", "Tea."];
    const whole = fakeContext({ agents, tools, answers });
    await run(step(fields), whole.context);
    expect(whole.committedTurns).toHaveLength(5);
    for (let crashAtTurn = 1; crashAtTurn <= 5; crashAtTurn++) {
      const before = fakeContext({ agents, tools, answers, crashAtTurn });
      await expect(run(step(fields), before.context)).rejects.toThrow("crash");
      const turns = before.committedTurns.map(({ data }) => data);
      const paid = before.committedTurns.flatMap(({ usage }) => usage).length;
      const after = fakeContext({ agents, tools, answers: answers.slice(paid), turns });
      expect((await run(step(fields), after.context)).response).toBe("Tea.");
      expect(after.modelCalls.map(({ effectKey }) => effectKey)).toEqual(
        whole.modelCalls.slice(paid).map(({ effectKey }) => effectKey),
      );
    }
  });

  test("that the agent does not finish in its max_turns is reported to the agent above it, which goes on", async () => {
    const fake = fakeContext({ agents, tools, answers: [delegate("reader"), search, search, "Nothing."] });
    expect((await run(step(fields), fake.context)).response).toBe("Nothing.");
    expect(fake.modelCalls.at(-1)?.messages.at(-1)?.content).toContain("has not answered in 2 turns");
  });

  test("fails the step's try when the other agent's model fails", async () => {
    const answers = [delegate("reader"), new RetryableError("model_unavailable", "503")];
    const fake = fakeContext({ agents, tools, answers });
    await expect(run(step(fields), fake.context)).rejects.toMatchObject({ code: "model_unavailable" });
    expect(fake.committedTurns).toHaveLength(1);
  });

  test("is handed on three times at most", async () => {
    const chain = Object.fromEntries(
      ["lead", "b", "c", "d", "e"].map((id, i, ids) => [
        id,
        { id, name: id, delegate_agent_ids: ids[i + 1] === undefined ? [] : [ids[i + 1] ?? ""] },
      ]),
    );
    const answers = [delegate("b"), delegate("c"), delegate("d"), "d", "c", "b", "lead"];
    const fake = fakeContext({ agents: chain, tools, answers });
    expect((await run(step(fields), fake.context)).response).toBe("lead");
    const offered = fake.modelCalls.slice(0, 4).map((call) => call.tools);
    expect(offered).toEqual([["delegate_to_agent"], ["delegate_to_agent"], ["delegate_to_agent"], []]);
  });

  test("is possible only by name where the step restricts the tools", async () => {
    const restricted = fakeContext({ agents, tools, answers: ["ok"] });
    await run(step({ ...fields, allowed_tools: ["save"] }), restricted.context);
    expect(restricted.modelCalls[0]?.tools).toEqual(["save"]);
    const allowing = fakeContext({ agents, tools, answers: ["ok"] });
    await run(step({ ...fields, allowed_tools: ["delegate_to_agent"] }), allowing.context);
    expect(allowing.modelCalls[0]?.tools).toEqual(["delegate_to_agent"]);
  });

  test("fails the step before its first call when one of the agents does not exist", async () => {
    const fake = fakeContext({ agents: { lead: agents.lead }, tools, answers: [] });
    await expect(run(step(fields), fake.context)).rejects.toMatchObject({
      code: "unknown_agent",
      message: 'there is no agent "reader"',
    });
  });

  // Fails when a tool that is not parallel is called twice at the same time, by two agents.
  test("beside another task calls a tool that is not parallel only when no other call is under way", async () => {
    let open = 0;
    let most = 0;
    const slow = async (): Promise<Json> => {
      open += 1;
      most = Math.max(most, open);
      await new Promise(setImmediate);
      open -= 1;
      return "page";
    };
    const withTwoDelegates = { ...agents, lead: { ...agents.lead, delegate_agent_ids: ["reader", "other"] } };
    const team = { ...withTwoDelegates, other: { ...agents.reader, id: "other", name: "Other" } };
    const answers = [delegate("reader", "other"), search, search, "one", "two", "done"];
    const fake = fakeContext({ agents: team, tools: { ...tools, search: slow }, answers });
    expect((await run(step(fields), fake.context)).response).toBe("done");
    expect({ calls: fake.toolCalls.length, most }).toEqual({ calls: 2, most: 1 });
  });

  // Fails when a waiting call is taken for a failure, or what was done before the wait is done again.
  test("waits with its step for a run that the other agent starts, and goes on with its output", async () => {
    const spawning = {
      ...agents,
      reader: { ...agents.reader, tools: ["search", "spawn_run"], orchestration_ids: ["research"] },
    };
    const spawn = { name: "spawn_run", args: { orchestration_id: "research", message: "owls" } };
    const round = { calls: [spawn, { name: "search", args: { query: "q" } }] };
    const first = fakeContext({ agents: spawning, tools, answers: [delegate("reader"), round] });
    expect(await runStep(step(fields), first.context)).toEqual({ waitsForCalls: true });
    expect(first.children).toMatchObject([{ call: "tool.1.1.tool.1.1", orchestrationId: "research" }]);
    expect(first.toolCalls).toMatchObject([{ name: "search" }]);

    const second = fakeContext({
      agents: spawning,
      tools,
      turns: first.committedTurns.map(({ data }) => data),
      answers: ["Two owls.", "Owls."],
      child: () => ({
        is: "ended",
        runId: "run_2",
        end: completed("two owls"),
        usage: childUsage,
        openForMs: 1,
      }),
    });
    expect(await run(step(fields), second.context)).toMatchObject({ response: "Owls." });
    expect(second.toolCalls).toEqual([]);
    expect(second.children).toMatchObject([{ call: "tool.1.1.tool.1.1" }]);
    expect(second.modelCalls.map(({ effectKey }) => effectKey)).toEqual([
      "run_1:s:1:tool.1.1.model.2",
      "run_1:s:1:model.2",
    ]);
    expect(second.committedTurns[0]?.usage).toEqual([childUsage]);
    // The task was published once, before the wait.
    const executions = [...first.noted, ...second.noted].filter(({ type }) => type === "tool_execution");
    expect(executions).toMatchObject([
      { tool_name: "delegate_to_agent" },
      { tool_name: "search" },
      { tool_name: "spawn_run", delegate_agent_id: "reader" },
    ]);
  });

  describe("given to an orchestrator", () => {
    const team = {
      ...agents,
      reader: { id: "reader", name: "R", type: "orchestrator", orchestration_id: "research" },
    };
    const ended = (end: EndRecord) => (): ChildReply => ({
      is: "ended",
      runId: "run_2",
      end,
      usage: childUsage,
      openForMs: 1,
    });

    // Fails when the task is not done by a run, or the run is started or published anew after the wait.
    test("is a run of its orchestration, for which the step waits, and its output is the result of the call", async () => {
      const round = { calls: [...calls("reader"), { name: "save", args: {} }] };
      const first = fakeContext({ agents: team, tools, answers: [round] });
      expect(await runStep(step(fields), first.context)).toEqual({ waitsForCalls: true });
      expect(first.children).toEqual([
        {
          call: "tool.1.1",
          orchestrationId: "research",
          message: "Task of reader",
          state: {},
          timeoutMs: null,
          waits: true,
        },
      ]);
      expect(first.toolCalls).toMatchObject([{ name: "save" }]);

      const turns = first.committedTurns.map(({ data }) => data);
      const child = ended(completed("two owls"));
      const second = fakeContext({ agents: team, tools, turns, answers: ["Owls."], child });
      expect(await run(step(fields), second.context)).toMatchObject({ response: "Owls." });
      expect(second.children).toMatchObject([{ call: "tool.1.1" }]);
      expect(second.toolCalls).toEqual([]);
      expect(second.modelCalls.at(-1)?.messages).toContainEqual(
        expect.objectContaining({ role: "tool", content: "two owls" }),
      );
      expect(second.committedTurns.flatMap(({ usage }) => usage)).toContainEqual(childUsage);
      // Each execution after a wait would add a turn.
      expect(second.committedTurns.map(({ data }) => data)).not.toContainEqual(
        expect.objectContaining({ in: "tool.1.1" }),
      );
      const published = [...first.noted, ...second.noted].filter(({ type }) => type === "tool_execution");
      expect(published).toMatchObject([{ tool_name: "delegate_to_agent" }, { tool_name: "save" }]);
      expect(second.noted).toContainEqual(
        expect.objectContaining({ type: "child_completed", nested_run_id: "run_2" }),
      );
    });

    test("that fails is reported to the agent, which goes on", async () => {
      const child = ended({
        status: "failed",
        checkpoint: null,
        response: null,
        error: { code: "bad_tool", message: "no such page", step_id: null },
      });
      const fake = fakeContext({ agents: team, tools, answers: [delegate("reader"), "Nothing."], child });
      expect((await run(step(fields), fake.context)).response).toBe("Nothing.");
      expect(fake.modelCalls.at(-1)?.messages.at(-1)?.content).toMatch(/reader.*bad_tool, no such page/);
    });

    test("for which no run can be started is reported to the agent too", async () => {
      const child = (): never => {
        throw new TerminalError("child_depth", "the run has 8 runs above it, which is the most");
      };
      const fake = fakeContext({ agents: team, tools, answers: [delegate("reader"), "Nothing."], child });
      expect((await run(step(fields), fake.context)).response).toBe("Nothing.");
      expect(fake.modelCalls.at(-1)?.messages.at(-1)?.content).toContain("no run was started");
    });
  });
});
