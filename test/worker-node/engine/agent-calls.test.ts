import { z } from "zod";
import { describe, expect, test } from "vitest";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { fakeContext, run, step } from "./context.ts";
import type { Json } from "../../../shared/contracts/json.ts";
import type { FakeAnswer } from "./context.ts";

const fields = { type: "agent", agent_id: "agent_1", prompt_template: "Find it.", output_key: "out" };
const agents = { agent_1: { id: "agent_1", name: "A", tools: ["search", "save"] } };
const callsOf = (...names: string[]): FakeAnswer => ({
  calls: names.map((name, i) => ({ id: `c${i + 1}`, name, args: { query: `q${i + 1}` } })),
});

/** A tool that answers a call only when the test says so, by the call's query. */
function heldTool() {
  const held = new Map<string, PromiseWithResolvers<Json>>();
  const answerTo = (query: string): PromiseWithResolvers<Json> => {
    const found = held.get(query) ?? Promise.withResolvers<Json>();
    held.set(query, found);
    return found;
  };
  const asked: string[] = [];
  const answer = (args: Json): Promise<Json> => {
    const { query } = z.object({ query: z.string() }).parse(args);
    asked.push(query);
    return answerTo(query).promise;
  };
  return { answerTo, asked, answer };
}

describe("the calls of one answer", () => {
  test("of a parallel tool are made at the same time, and the model gets their results in the order of the calls", async () => {
    const tool = heldTool();
    const { context, modelCalls, committedTurns } = fakeContext({
      agents,
      tools: { search: tool.answer, save: () => null },
      parallel: ["search"],
      answers: [callsOf("search", "search", "search"), "ok"],
    });
    const result = run(step(fields), context);
    await expect.poll(() => tool.asked).toEqual(["q1", "q2", "q3"]);
    tool.answerTo("q3").resolve("third");
    await expect.poll(() => committedTurns.length).toBe(2);
    tool.answerTo("q1").resolve("first");
    await expect.poll(() => committedTurns.length).toBe(3);
    tool.answerTo("q2").resolve("second");
    expect(await result).toMatchObject({ response: "ok" });
    expect(modelCalls[1]?.messages.slice(2).map(({ content }) => content)).toEqual([
      "first",
      "second",
      "third",
    ]);
  });

  test("of another tool are made one after the other", async () => {
    const tool = heldTool();
    const { context, committedTurns } = fakeContext({
      agents,
      tools: { search: tool.answer, save: tool.answer },
      parallel: ["search"],
      answers: [callsOf("save", "save", "search"), "ok"],
    });
    const result = run(step(fields), context);
    for (const [i, query] of ["q1", "q2", "q3"].entries()) {
      await expect.poll(() => committedTurns.length).toBe(1 + i);
      expect(tool.asked.at(-1)).toBe(query);
      tool.answerTo(query).resolve(query);
    }
    expect(await result).toMatchObject({ response: "ok" });
  });

  test("are made when their ids are those of an earlier answer's calls", async () => {
    const { context, toolCalls } = fakeContext({
      agents,
      tools: { search: () => "found", save: () => null },
      answers: [callsOf("search"), callsOf("search"), "ok"],
    });
    expect(await run(step(fields), context)).toMatchObject({ response: "ok" });
    expect(toolCalls.map(({ effectKey }) => effectKey)).toEqual(["run_1:s:1:tool.1.1", "run_1:s:1:tool.2.1"]);
  });

  test("beyond eight at a time wait for those before them", async () => {
    const tool = heldTool();
    const { context } = fakeContext({
      agents,
      tools: { search: tool.answer, save: () => null },
      parallel: ["search"],
      answers: [callsOf(...Array.from({ length: 9 }, () => "search")), "ok"],
    });
    const result = run(step(fields), context);
    await expect.poll(() => tool.asked.length).toBe(8);
    for (let n = 1; n <= 8; n++) tool.answerTo(`q${n}`).resolve(n);
    await expect.poll(() => tool.asked.length).toBe(9);
    tool.answerTo("q9").resolve(9);
    expect(await result).toMatchObject({ response: "ok" });
  });

  // Fails when a crash, or the failure of one call, costs the others their results, or gives a repeated call another key.
  test("with a result are not repeated after another call has failed, and the failed call keeps its effect key", async () => {
    const answer = callsOf("search", "search", "search");
    const unreachable = (args: Json): Json => {
      if (JSON.stringify(args).includes("q2")) throw new RetryableError("tool_unavailable", "503");
      return args;
    };
    const tools = { search: unreachable, save: (): Json => null };
    const before = fakeContext({ agents, tools, parallel: ["search"], answers: [answer] });
    await expect(run(step(fields), before.context)).rejects.toMatchObject({ code: "tool_unavailable" });
    const turns = before.committedTurns.map(({ data }) => data);
    expect(turns).toHaveLength(3);
    const after = fakeContext({
      agents,
      tools: { ...tools, search: (args) => args },
      parallel: ["search"],
      answers: ["ok"],
      turns,
    });
    const result = await run(step(fields), after.context);
    expect(after.toolCalls).toEqual([
      { name: "search", args: { query: "q2" }, effectKey: "run_1:s:1:tool.1.2" },
    ]);
    expect(after.modelCalls[0]?.messages.slice(2).map(({ content }) => content)).toEqual([
      '{"query":"q1"}',
      '{"query":"q2"}',
      '{"query":"q3"}',
    ]);
    expect(new Set(result.effects).size).toBe(5);
  });

  // Fails when a call that may have happened is made again under another key, because another call was refused.
  test("end with the failure whose outcome is unknown, and not with a refusal", async () => {
    const failing = (args: Json): Json => {
      const isFirst = JSON.stringify(args).includes("q1");
      throw new RetryableError(isFirst ? "tool_unavailable" : "unreachable", "no", { answered: isFirst });
    };
    const { context } = fakeContext({
      agents,
      tools: { search: failing, save: () => null },
      parallel: ["search"],
      answers: [callsOf("search", "search")],
    });
    await expect(run(step(fields), context)).rejects.toMatchObject({ code: "unreachable" });
  });

  // Fails when the step is tried again while a call of its last try is still under way.
  test("end with the first failure in their order when all of them have ended", async () => {
    const tool = heldTool();
    const { context, committedTurns } = fakeContext({
      agents,
      tools: { search: tool.answer, save: () => null },
      parallel: ["search"],
      answers: [callsOf("search", "search", "search")],
    });
    let hasEnded = false;
    const result = run(step(fields), context).finally(() => (hasEnded = true));
    await expect.poll(() => tool.asked.length).toBe(3);
    tool.answerTo("q3").reject(new TerminalError("tool_broken", "no"));
    tool.answerTo("q1").reject(new RetryableError("tool_unavailable", "503"));
    await new Promise(setImmediate);
    expect(hasEnded).toBe(false);
    tool.answerTo("q2").resolve("second");
    await expect(result).rejects.toMatchObject({ code: "tool_unavailable" });
    expect(committedTurns).toHaveLength(2);
  });
});
