import { describe, expect, test } from "vitest";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import type { ChildReply } from "../../../worker-node/engine/ports.ts";
import { fakeContext, run, step } from "./context.ts";

const usage = {
  call: "child.run_2",
  provider: "child_run",
  model: "run_2",
  input_tokens: 10,
  output_tokens: 5,
  cost_micro_usd: 7,
};
const ended = (response: Json, status: "completed" | "failed" | "cancelled" = "completed"): ChildReply => ({
  is: "ended",
  runId: "run_2",
  end: {
    status,
    checkpoint: null,
    response,
    error: status === "failed" ? { code: "tool_rejected", message: "no such file", step_id: "x" } : null,
  },
  usage,
  openForMs: 1_500,
});
const nested = (fields: JsonObject = {}) =>
  step({ type: "orchestration", orchestration_id: "research", output_key: "found", ...fields });

describe("an orchestration step", () => {
  test("starts a run with the message of its own run, unless it has an input", async () => {
    const state = { topic: "owls", plan: { steps: [{ name: "one" }] }, other: 1 };
    const plain = fakeContext({ message: "hello", state });
    expect(await runStep(nested(), plain.context)).toEqual({ waitsForCalls: true });
    expect(plain.children).toEqual([
      { call: "", orchestrationId: "research", message: "hello", state: {}, timeoutMs: null, waits: true },
    ]);
    const full = fakeContext({ message: "hello", state });
    const fields = {
      input: "{input}: {state.topic}",
      input_keys: ["topic", "absent", "constructor"],
      child_state: { first: "state.plan.steps.0.name" },
      timeout_seconds: 90,
    };
    await runStep(nested(fields), full.context);
    expect(full.children).toMatchObject([
      { message: "hello: owls", state: { topic: "owls", first: "one" }, timeoutMs: 90_000 },
    ]);
  });

  test.each(["state.plan.x", "state.x", "state.toString", "state.toString.name"])(
    "fails when state does not have a place that child_state names: %s",
    async (place) => {
      const { context, children } = fakeContext({ state: { plan: {} } });
      await expect(runStep(nested({ child_state: { a: place } }), context)).rejects.toMatchObject({
        code: "child_state",
        message: expect.stringContaining(place),
      });
      expect(children).toEqual([]);
    },
  );

  test("has the child's response as its value, with what the child has used and the time of the wait", async () => {
    const { context, charged } = fakeContext({ child: () => ended({ birds: 2 }) });
    expect(await run(nested(), context)).toMatchObject({
      set: { found: { birds: 2 } },
      response: { birds: 2 },
      usage: [usage],
      waitedMs: 1_500,
      events: [
        { type: "child_completed", nested_run_id: "run_2", nested_orch_id: "research", status: "completed" },
        { type: "final", response: { birds: 2 } },
      ],
    });
    expect(charged).toEqual([]);
  });

  // Fails when a child's failure becomes output, or its cost is lost with the failure.
  test.each([
    ["failed", "child_failed", "no such file"],
    ["cancelled", "child_cancelled", "was cancelled"],
  ] as const)(
    "whose child %s fails with %s, and is charged what the child has used",
    async (status, code, text) => {
      const { context, charged, noted } = fakeContext({ child: () => ended(null, status) });
      await expect(runStep(nested(), context)).rejects.toMatchObject({
        code,
        message: expect.stringContaining(text),
      });
      expect(charged).toEqual([usage]);
      expect(noted).toMatchObject([{ type: "child_completed", status }]);
    },
  );

  test("goes on with the error as its value when on_child_error is continue", async () => {
    const { context, charged } = fakeContext({ child: () => ended(null, "failed") });
    expect(await run(nested({ on_child_error: "continue" }), context)).toMatchObject({
      set: { found: { error: { code: "child_failed" }, run_id: "run_2" } },
      usage: [usage],
    });
    expect(charged).toEqual([]);
  });

  // Fails when children that end too late are not charged: a cycle of them could use more than the run's limit.
  test("whose child does not end in time fails, or goes on with the error as its value, and is charged what the child has used", async () => {
    const child = (): ChildReply => ({ is: "expired", runId: "run_2", usage });
    const limit = { timeout_seconds: 60 };
    const failing = fakeContext({ child });
    await expect(runStep(nested(limit), failing.context)).rejects.toMatchObject({
      code: "child_timeout",
      message: expect.stringContaining("60 s"),
    });
    expect(failing.charged).toEqual([usage]);
    const continuing = nested({ ...limit, on_child_error: "continue" });
    expect(await run(continuing, fakeContext({ child }).context)).toMatchObject({
      set: { found: { error: { code: "child_timeout" } } },
      usage: [usage],
    });
  });
});

describe("an orchestrator agent", () => {
  const agents = { boss: { id: "boss", name: "Boss", type: "orchestrator", orchestration_id: "research" } };
  const agentStep = step({
    type: "agent",
    agent_id: "boss",
    prompt_template: "Find {input}",
    output_key: "found",
  });

  test("executes the composed task as a run of its orchestration, and calls no model", async () => {
    const waiting = fakeContext({ agents, message: "owls" });
    expect(await runStep(agentStep, waiting.context)).toEqual({ waitsForCalls: true });
    expect(waiting.children).toMatchObject([{ call: "", orchestrationId: "research", waits: true }]);
    expect(waiting.children[0]?.message).toContain("Find owls");
    expect(waiting.modelCalls).toEqual([]);
    const done = fakeContext({ agents, child: () => ended("two owls") });
    expect(await run(agentStep, done.context)).toMatchObject({ set: { found: "two owls" }, usage: [usage] });
  });
});

describe("the tool spawn_run of an agent", () => {
  const agents = {
    helper: {
      id: "helper",
      name: "H",
      tools: ["spawn_run", "note"],
      orchestration_ids: ["research", "summary"],
    },
  };
  const agentStep = step({ type: "agent", agent_id: "helper", prompt_template: "Work", output_key: "text" });
  const spawn = (args: JsonObject) => ({ name: "spawn_run", args });
  const research = spawn({ orchestration_id: "research", message: "owls" });

  test("offers the model the orchestrations that the agent may start, and no others", async () => {
    const { context, modelCalls, children } = fakeContext({
      agents,
      tools: { note: () => null },
      answers: [{ calls: [spawn({ orchestration_id: "secret", message: "x" })] }, "done"],
    });
    await run(agentStep, context);
    expect(children).toEqual([]);
    expect(JSON.stringify(modelCalls[1]?.messages)).toContain("must be one of");
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain('["research","summary"]');
  });

  test("of an agent without orchestration_ids starts nothing, and the model gets the reason", async () => {
    const { context, modelCalls, children } = fakeContext({
      agents: { helper: { id: "helper", name: "H", tools: ["spawn_run"] } },
      answers: [{ calls: [research] }, "done"],
    });
    await run(agentStep, context);
    expect(children).toEqual([]);
    expect(modelCalls[1]?.messages.at(-1)?.content).toContain("orchestration_ids are empty");
  });

  // Fails when the results of the other calls of the round are not committed before the wait: they would be made again.
  test("commits the results of the other calls, waits, and then gives the model the output", async () => {
    const tools = { note: () => "noted" };
    const calls = [research, { name: "note", args: {} }];
    const first = fakeContext({ agents, tools, answers: [{ calls }] });
    expect(await runStep(agentStep, first.context)).toEqual({ waitsForCalls: true });
    expect(first.children).toMatchObject([
      { call: "tool.1.1", orchestrationId: "research", message: "owls", waits: true },
    ]);
    expect(first.toolCalls).toHaveLength(1);
    const turns = first.committedTurns.map(({ data }) => data);
    expect(turns).toHaveLength(2);

    const second = fakeContext({ agents, tools, turns, answers: ["done"], child: () => ended("two owls") });
    expect(await run(agentStep, second.context)).toMatchObject({ set: { text: "done" } });
    // The call that was made before the wait is not made again, and the child keeps its place.
    expect(second.toolCalls).toEqual([]);
    expect(second.children).toMatchObject([{ call: "tool.1.1" }]);
    expect(JSON.stringify(second.modelCalls[0]?.messages)).toContain("two owls");
    expect(second.committedTurns[0]?.usage).toContainEqual(usage);
  });

  test("gives a failed run to the model as a result, and the id alone of a run that is not waited for", async () => {
    const failing = fakeContext({
      agents,
      tools: { note: () => null },
      answers: [{ calls: [research] }, "done"],
      child: () => ended(null, "failed"),
    });
    await run(agentStep, failing.context);
    expect(JSON.stringify(failing.modelCalls[1]?.messages)).toContain("no such file");
    const detached = fakeContext({
      agents,
      tools: { note: () => null },
      answers: [{ calls: [spawn({ orchestration_id: "summary", message: "x", wait: false })] }, "done"],
      child: () => ({ is: "started", runId: "run_3" }),
    });
    await run(agentStep, detached.context);
    expect(detached.children).toMatchObject([{ orchestrationId: "summary", waits: false }]);
    expect(JSON.stringify(detached.modelCalls[1]?.messages)).toContain("run_3");
  });

  test("is refused in a tool step", async () => {
    const { context } = fakeContext({ state: { orchestration_id: "research", message: "x" } });
    const forced = { type: "tool", forced_tool: "spawn_run", input_keys: ["orchestration_id", "message"] };
    await expect(runStep(step(forced), context)).rejects.toMatchObject({ code: "bad_tool" });
  });
});
