import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { formOf, answerOf } from "../../../worker-node/engine/elicitation.ts";
import type { McpOutcome, McpPending, McpRequest } from "../../../worker-node/engine/mcp-pending.ts";
import type { StepContext } from "../../../worker-node/engine/ports.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { fakeContext, run, step } from "./context.ts";

const toolStep = step({ type: "tool", forced_tool: "srv__ask", output_key: "out" });
const key = "run_1:s:1:tool.1";
const schema = { type: "object", properties: { yes: { type: "boolean" } }, required: ["yes"] };
const asking: McpPending = {
  key,
  round: 1,
  state: "s1",
  questions: [{ name: "sure", message: "Sure?", schema }],
  task: null,
};
const stored: JsonObject = {
  tool_type: "mcp",
  name: "srv__ask",
  tool: "ask",
  description: "",
  inputSchema: { type: "object", properties: {} },
  server: { name: "srv", owner: "acme" },
};

/** A tool step whose server answers its calls in order. `requests`: the calls that it received. */
function server(outcomes: (McpOutcome | Error)[], options: Parameters<typeof fakeContext>[0] = {}) {
  const requests: McpRequest[] = [];
  const fake = fakeContext({
    ...options,
    callMcp: async (request) => {
      requests.push(request);
      const next = outcomes.shift();
      if (next === undefined) throw new Error("the server is called more often than the test expects");
      if (next instanceof Error) throw next;
      return next;
    },
  });
  const context = { ...fake.context, tool: async () => null, mcpServer: async () => ({ name: "srv" }) };
  return {
    ...fake,
    requests,
    context: { ...context, tools: { ...context.tools, toolsOf: async () => [stored] } },
  };
}
const waits = (pending: McpPending, isNew = true): McpOutcome => ({
  is: "waits",
  pending,
  isNew,
  afterMs: 7_000,
});
const answeredBy = { key_id: "key_1", person: "ann" };

describe("a call of an MCP tool that asks a person", () => {
  // Fails when the question is opened before what continues the call is durable.
  test("commits what it waits for before it opens the question, and then waits", async () => {
    const order: string[] = [];
    const first = server([waits(asking)], { ask: async () => (order.push("ask"), { is: "open" }) });
    const turn = first.context.turn;
    const context = {
      ...first.context,
      turn: async (...given: Parameters<typeof turn>) => (order.push("turn"), turn(...given)),
    };
    expect(await runStep(toolStep, context)).toEqual({ waitsForCalls: true });
    expect(order).toEqual(["turn", "ask"]);
    expect(first.committedTurns).toMatchObject([{ data: { pending: asking } }]);
  });

  test("is repeated under its key after a crash before that commit", async () => {
    const crashed = server([waits(asking)], { crashAtTurn: 1, ask: async () => expect.unreachable() });
    await expect(runStep(toolStep, crashed.context)).rejects.toThrow("crash");
    const repeated = server([waits(asking)]);
    await runStep(toolStep, repeated.context);
    const keys = [...crashed.requests, ...repeated.requests].map(({ effectKey }) => effectKey);
    expect(keys).toEqual([key, key]);
  });

  test("goes on with the answer, in the same call, and reports the person who answered", async () => {
    const turns = [{ messages: [], usage: [], effects: [], pending: asking }];
    const ask = async () => ({
      is: "answered" as const,
      questionId: "s:1:tool.1.ask.1.1",
      answer: { yes: true, mcp_action: "accept" },
      by: answeredBy,
    });
    const resumed = server([{ is: "result", value: "done" }], { turns, ask });
    expect(await run(toolStep, resumed.context)).toMatchObject({ set: { out: "done" } });
    expect(resumed.requests).toMatchObject([
      { effectKey: key, pending: asking, answers: { sure: { action: "accept", content: { yes: true } } } },
    ]);
    expect(resumed.noted).toMatchObject([
      { type: "human_response", question_id: "s:1:tool.1.ask.1.1", answered_by: answeredBy },
      { type: "tool_result" },
    ]);
  });

  // Fails when each execution of the visit, for another answer or another try, publishes the answers that it finds once more.
  test("publishes each answer once, with a checkpoint that says so", async () => {
    const questions = ["a", "b"].map((name) => ({ name, message: name, schema }));
    const pending = { ...asking, questions };
    const answers = new Set(["s:1:tool.1.ask.1.1"]);
    const ask: StepContext["ask"] = async ({ call }) =>
      answers.has(`s:1:${call}`)
        ? { is: "answered", questionId: `s:1:${call}`, answer: { yes: true }, by: answeredBy }
        : { is: "open" };
    const turns = [{ messages: [], usage: [], effects: [], pending }];
    const first = server([], { turns, ask });
    expect(await runStep(toolStep, first.context)).toEqual({ waitsForCalls: true });
    const responses = (of: typeof first) => of.noted.filter(({ type }) => type === "human_response");
    expect(responses(first)).toMatchObject([{ question_id: "s:1:tool.1.ask.1.1" }]);
    const committed = first.committedTurns.map(({ data }) => data);
    expect(committed).toMatchObject([{ pending: { reported: ["s:1:tool.1.ask.1.1"] } }]);
    answers.add("s:1:tool.1.ask.1.2");
    const busy = new RetryableError("tool_unavailable", "busy", { answered: true });
    const second = server([busy], { turns: [...turns, ...committed], ask });
    await expect(runStep(toolStep, second.context)).rejects.toThrow("busy");
    expect(responses(second)).toMatchObject([{ question_id: "s:1:tool.1.ask.1.2" }]);
    const all = [...turns, ...committed, ...second.committedTurns.map(({ data }) => data)];
    const third = server([{ is: "result", value: "done" }], { turns: all, ask });
    await run(toolStep, third.context);
    expect(responses(third)).toEqual([]);
    expect(third.requests).toMatchObject([{ answers: { a: { action: "accept" }, b: { action: "accept" } } }]);
  });

  test("without an answer in time sends the server a cancel", async () => {
    const turns = [{ messages: [], usage: [], effects: [], pending: asking }];
    const expired = server([{ is: "result", value: "without" }], {
      turns,
      ask: async () => ({ is: "expired", questionId: "q" }),
    });
    await run(toolStep, expired.context);
    // Fails when a page that shows the question cannot see that it is over.
    expect(expired.noted[0]).toMatchObject({
      type: "human_timed_out",
      question_id: "q",
      on_timeout: "cancel",
    });
    expect(expired.requests).toMatchObject([{ answers: { sure: { action: "cancel" } } }]);
  });

  // Fails when a refusal gives the call a new key: the person's answer would be lost, and the question asked again.
  test("keeps its key when the server refuses the answer for a moment", async () => {
    const turns = [{ messages: [], usage: [], effects: [], pending: asking }];
    const ask = async () => ({
      is: "answered" as const,
      questionId: "q",
      answer: { yes: true },
      by: answeredBy,
    });
    const busy = new RetryableError("tool_unavailable", "busy", { answered: true, retryAfterMs: 5 });
    const refused = server([busy], { turns, ask });
    await expect(runStep(toolStep, refused.context)).rejects.toMatchObject({
      answered: false,
      retryAfterMs: 5,
    });
    await expect(runStep(toolStep, server([busy]).context)).rejects.toMatchObject({ answered: true });
  });
});

test("a call of which the server makes a task pauses, and is polled without another commit", async () => {
  const task = {
    id: "t",
    protocol: "2026-07-28" as const,
    session: null,
    poll_ms: null,
    began_at_ms: 0,
    answered: [],
  };
  const pending = { ...asking, questions: [], task };
  const paused: number[] = [];
  const pause = async (_: string, ms: number) => paused.push(ms) < 2;
  const polled = server([waits(pending), waits(pending, false)], { pause });
  expect(await runStep(toolStep, polled.context)).toEqual({ waitsForCalls: true });
  expect(paused).toEqual([7_000, 7_000]);
  expect(polled.committedTurns).toHaveLength(1);
});

describe("the form of an MCP server's question", () => {
  test("has the types, choices and bounds of its schema", () => {
    const properties = {
      mail: { type: "string", format: "email", title: "Mail", maxLength: 50 },
      age: { type: "integer", minimum: 18 },
      size: { type: "string", enum: ["s", "m"], default: "m" },
      titled: { type: "string", oneOf: [{ const: "a", title: "A" }] },
      many: { type: "array", items: { type: "string", enum: ["x", "y"] }, minItems: 1, maxItems: 2 },
      page: { type: "string", format: "uri" },
    };
    expect(formOf({ type: "object", properties, required: ["mail"] })).toMatchObject([
      { key: "mail", label: "Mail", type: "email", required: true, max: 50 },
      { key: "age", type: "integer", required: false, min: 18 },
      { key: "size", type: "select", options: ["s", "m"], default: "m" },
      { key: "titled", type: "select", options: ["a"] },
      { key: "many", type: "multiselect", options: ["x", "y"], min: 1, max: 2 },
      { key: "page", type: "uri" },
      { key: "mcp_action", type: "accept_or_decline", default: "accept" },
    ]);
  });

  // In a form, a required choice has one item at least; in a JSON Schema, a required list may be empty.
  test("takes an empty list where its schema does", () => {
    const items = { type: "string", enum: ["x", "y"] };
    const properties = {
      any: { type: "array", items },
      some: { type: "array", items, minItems: 1 },
      both: { type: "array", items, default: ["x", "y"] },
    };
    expect(formOf({ type: "object", properties, required: Object.keys(properties) })).toMatchObject([
      { key: "any", required: false, default: [] },
      { key: "some", required: true },
      { key: "both", required: false, default: ["x", "y"] },
      { key: "mcp_action" },
    ]);
  });

  test("is refused when no form can have it, and its answer has only the fields that were filled in", () => {
    expect(() => formOf({ properties: { deep: { type: "object" } } })).toThrow("deep");
    expect(() => formOf({ properties: { mcp_action: { type: "string" } } })).toThrow("mcp_action");
    const answered = { yes: true, other: 1, empty: "", mcp_action: "accept" };
    const askedSchema = { properties: { yes: { type: "boolean" }, empty: { type: "string" } } };
    expect(answerOf(askedSchema, answered)).toEqual({ action: "accept", content: { yes: true } });
    expect(answerOf(askedSchema, { mcp_action: "decline" })).toEqual({ action: "decline" });
  });
});
