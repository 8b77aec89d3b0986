import { describe, expect, test } from "vitest";
import { runStep } from "../../../worker-node/engine/steps/index.ts";
import { run, step, world } from "./context.ts";

const fields = {
  type: "human",
  human_prompt: "Publish {state.draft}?",
  human_fields: [{ key: "decision", type: "select", options: ["yes", "no"] }],
  human_channel_id: "editors",
  human_timeout_seconds: 90,
  input_keys: ["draft"],
};
const state = { draft: "the text" };
const asked = { prompt: "Publish the text?", timeoutMs: 90_000, fields: [{ key: "decision" }] };

describe("a human step", () => {
  test("asks with its rendered prompt, and tells who watches", async () => {
    const before = Date.now();
    const said = await runStep(step(fields), world({ state }).context);
    if (!("question" in said)) throw new Error("it did not ask");
    expect(said.question).toMatchObject(asked);
    expect(said.events).toMatchObject([
      {
        type: "human_input_required",
        orch_step_id: "s",
        prompt: "Publish the text?",
        fields: [{ key: "decision", label: "decision", type: "select", options: ["yes", "no"] }],
        channel_id: "editors",
        agent_context: { draft: "the text" },
      },
      { type: "paused" },
    ]);
    const [event] = said.events;
    if (event?.type !== "human_input_required") throw new Error("no question was told");
    expect(Date.parse(event.expires_at) - before).toBeGreaterThanOrEqual(90_000);
  });

  // Red when: what is asked again is told again, or rendered again: what it reads may be away at this moment.
  test("that is woken by something else asks on, and tells only that the run sleeps", async () => {
    const { context } = world({ state: {}, reply: { is: "open" } });
    expect(await runStep(step(fields), context)).toEqual({ ask: null, events: [{ type: "paused" }] });
  });

  test("keeps the answer under its key and as human_response, and dates from when it asked", async () => {
    const answer = { decision: "yes" };
    const reply = { is: "answered" as const, answer, openForMs: 5_000 };
    const result = await run(step({ ...fields, output_key: "verdict" }), world({ state, reply }).context);
    expect(result).toMatchObject({ set: { verdict: answer, human_response: answer }, waitedMs: 5_000 });
    expect(result.events).toMatchObject([{ type: "human_response", orch_step_id: "s", response: answer }]);
    const without = await run(step(fields), world({ state, reply }).context);
    expect(without.set).toEqual({ human_response: answer });
  });

  // Red when: an answer that never came is taken for one.
  test("whose time went by fails, and says which limit it was", async () => {
    await expect(
      runStep(step(fields), world({ state, reply: { is: "expired" } }).context),
    ).rejects.toMatchObject({
      name: "TerminalError",
      code: "human_timeout",
      message: "nobody answered within 90 s",
    });
  });

  // Red when: a text that Postgres does not take is passed on: the question could never be stored.
  test("leaves out of its question what Postgres does not keep", async () => {
    const said = await runStep(step(fields), world({ state: { draft: "a\u0000b" } }).context);
    expect(said).toMatchObject({ ask: { prompt: "Publish ab?" } });
  });
});
