import { describe, expect, test } from "vitest";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { run, step, fakeContext } from "./context.ts";

const fields = {
  type: "human",
  human_prompt: "Publish {state.draft}?",
  human_fields: [{ key: "decision", type: "select", options: ["yes", "no"] }],
  human_channel_id: "editors",
  human_timeout_seconds: 90,
  input_keys: ["draft"],
};
const state = { draft: "the text" };
const question = { prompt: "Publish the text?", timeoutMs: 90_000, fields: [{ key: "decision" }] };

describe("a human step", () => {
  test("asks with its rendered prompt, and publishes the question", async () => {
    const before = Date.now();
    const result = await runStep(step(fields), fakeContext({ state }).context);
    if (!("waitFor" in result)) throw new Error("the step did not ask");
    expect(result.waitFor).toMatchObject(question);
    expect(result.events).toMatchObject([
      {
        type: "human_input_required",
        orch_step_id: "s",
        prompt: "Publish the text?",
        fields: [{ key: "decision", label: "decision", type: "select", options: ["yes", "no"] }],
        channel_id: "editors",
        agent_context: { draft: "the text" },
      },
    ]);
    const [event] = result.events;
    if (event?.type !== "human_input_required") throw new Error("the question was not published");
    expect(Date.parse(event.expires_at) - before).toBeGreaterThanOrEqual(90_000);
  });

  // Fails when an open question is published or rendered again: the object store that rendering reads may be unreachable now.
  test("whose run wakes without an answer keeps its question open, and does not publish it again", async () => {
    const { context } = fakeContext({ state: {}, reply: { is: "open" } });
    expect(await runStep(step(fields), context)).toEqual({ waitFor: null, events: [] });
  });

  test("stores the answer under its key and as human_response, and reports how long the question was open", async () => {
    const answer = { decision: "yes" };
    const reply = { is: "answered" as const, answer, openForMs: 5_000 };
    const result = await run(
      step({ ...fields, output_key: "verdict" }),
      fakeContext({ state, reply }).context,
    );
    expect(result).toMatchObject({ set: { verdict: answer, human_response: answer }, waitedMs: 5_000 });
    expect(result.events).toMatchObject([{ type: "human_response", orch_step_id: "s", response: answer }]);
    const without = await run(step(fields), fakeContext({ state, reply }).context);
    expect(without.set).toEqual({ human_response: answer });
  });

  // Fails when an expired question counts as answered.
  test("whose question expires fails, and the error names the limit", async () => {
    await expect(
      runStep(step(fields), fakeContext({ state, reply: { is: "expired", openForMs: 90_000 } }).context),
    ).rejects.toMatchObject({
      name: "TerminalError",
      code: "human_timeout",
      message: "no answer came within 90 s",
    });
  });

  test("asks with the text as it is rendered, also with characters that Postgres does not hold in text", async () => {
    const result = await runStep(step(fields), fakeContext({ state: { draft: "a\u0000b\ud800" } }).context);
    expect(result).toMatchObject({ waitFor: { prompt: "Publish a\u0000b\ud800?" } });
  });
});
