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

  // Fails when a person gets a question without a text.
  test("whose question renders to a blank text fails", async () => {
    const { context } = fakeContext({ state: { draft: " " } });
    const asking = runStep(step({ ...fields, human_prompt: "{state.draft}\n" }), context);
    await expect(asking).rejects.toMatchObject({ code: "template" });
  });

  // Fails when an open question is published or rendered again: the object store that rendering reads may be unreachable now.
  test("whose run wakes without an answer keeps its question open, and does not publish it again", async () => {
    const { context } = fakeContext({
      state: {},
      reply: { is: "open", openForMs: 5_000, dueInMs: 85_000, level: 0, prompt: "Publish?" },
    });
    expect(await runStep(step(fields), context)).toEqual({ waitFor: null, events: [] });
  });

  test("stores the answer under its key and as human_response, and reports how long the question was open", async () => {
    const answer = { decision: "yes" };
    const answeredBy = { key_id: "key_1", person: "ann" };
    const reply = { is: "answered" as const, answer, by: answeredBy, votes: [], openForMs: 5_000 };
    const result = await run(
      step({ ...fields, output_key: "verdict" }),
      fakeContext({ state, reply }).context,
    );
    expect(result).toMatchObject({
      set: { verdict: answer, human_response: answer },
      answeredBy: answeredBy,
      waitedMs: 5_000,
    });
    expect(result.events).toMatchObject([
      { type: "human_response", orch_step_id: "s", response: answer, answered_by: answeredBy },
    ]);
    const without = await run(step(fields), fakeContext({ state, reply }).context);
    expect(without.set).toEqual({ human_response: answer });
  });

  // Fails when an expired question counts as answered.
  test("whose question expires fails, and the error names the limit", async () => {
    await expect(
      runStep(
        step(fields),
        fakeContext({ state, reply: { is: "expired", votes: [], openForMs: 90_000 } }).context,
      ),
    ).rejects.toMatchObject({
      name: "TerminalError",
      code: "human_timeout",
      message: "no answer came within 90 s",
    });
  });

  test("asks with the text as it is rendered, also with characters that the type text of Postgres cannot hold", async () => {
    const result = await runStep(step(fields), fakeContext({ state: { draft: "a\u0000b\ud800" } }).context);
    expect(result).toMatchObject({ waitFor: { prompt: "Publish a\u0000b\ud800?" } });
  });
});

const group = (after_seconds: number, ...approvers: string[]) => ({ after_seconds, approvers });
const vote = (person: string, decision: "approve" | "reject") => ({
  person,
  decision,
  key_id: "key_1",
  answer: JSON.stringify({ decision, note: `of ${person}` }),
  at: "2026-06-04T09:15:30.000Z",
});

describe("a human step whose question expires", () => {
  const expired = { is: "expired" as const, votes: [vote("ann", "approve")], openForMs: 90_000 };
  const after = (changes: object) =>
    run(step({ ...fields, ...changes }), fakeContext({ state, reply: expired }).context);

  test("with defaults goes on with them, and records that no person has answered", async () => {
    const human_fields = [{ key: "note", default: "none" }, { key: "other" }];
    const result = await after({ on_timeout: "default", human_fields, output_key: "verdict" });
    const response = { note: "none" };
    expect(result).toMatchObject({
      set: { verdict: response, human_response: response },
      answeredBy: null,
      waitedMs: 90_000,
    });
    expect(result.events).toMatchObject([
      { type: "human_timed_out", on_timeout: "default", target_step_id: null },
      { type: "human_response", response, answered_by: null },
    ]);
  });

  // Fails when too few approvals count as enough.
  test("with defaults and too few approvals is rejected", async () => {
    const quorum = {
      approvers: ["ann", "bob"],
      approvals_needed: 2,
      human_fields: [{ key: "note", default: "none" }],
    };
    const { set } = await after({ ...quorum, on_timeout: "default" });
    expect(set["human_response"]).toEqual({
      note: "none",
      decision: "reject",
      votes: [{ person: "ann", decision: "approve", response: expect.anything(), at: expect.any(String) }],
    });
  });

  // Fails when the answer of an earlier visit stays in state.
  test("with a route goes there without an answer", async () => {
    const result = await after({
      on_timeout: "route",
      timeout_step_id: null,
      next_step_id: "s",
      output_key: "verdict",
    });
    expect(result).toMatchObject({
      set: { verdict: null, human_response: null },
      route: { target: null },
      answeredBy: null,
      events: [{ type: "human_timed_out", on_timeout: "route", target_step_id: null }],
    });
  });
});

describe("a human step with approvers", () => {
  const quorum = { ...fields, approvers: ["ann"], approvals_needed: 1, human_fields: [] };
  const escalating = step({ ...quorum, escalate_to: [group(30, "bob", "ann"), group(60, "cat")] });
  const open = (openForMs: number, level: number) =>
    runStep(
      escalating,
      fakeContext({
        state: {},
        reply: { is: "open", openForMs, dueInMs: 90_000 - openForMs, level, prompt: "as it was rendered" },
      }).context,
    );

  test("names them in its question, and runs again when the question goes to the next group", async () => {
    expect(await runStep(escalating, fakeContext({ state }).context)).toMatchObject({
      waitFor: { approvers: ["ann"], approvalsNeeded: 1, level: 0, timeoutMs: 90_000 },
      againInMs: 30_000,
      events: [{ type: "human_input_required", approvers: ["ann"], approvals_needed: 1 }],
    });
    expect(await open(10_000, 0)).toEqual({ waitFor: null, againInMs: 20_000, events: [] });
    expect(await open(70_000, 2)).toEqual({ waitFor: null, events: [] });
  });

  // Fails when the prompt is rendered again, the deadline begins anew, or the first group may no longer answer.
  test("asks the next group when its time has come, each group once", async () => {
    expect(await open(30_000, 0)).toMatchObject({
      waitFor: { approvers: ["ann", "bob"], level: 1, timeoutMs: 60_000, prompt: "as it was rendered" },
      againInMs: 30_000,
      events: [
        { type: "human_escalated", level: 1, approvers: ["bob", "ann"], prompt: "as it was rendered" },
      ],
    });
    // The run woke late: the groups follow each other at once.
    expect(await open(80_000, 0)).toMatchObject({ waitFor: { level: 1 }, againInMs: 0 });
    expect(await open(80_000, 1)).toMatchObject({
      waitFor: { approvers: ["ann", "bob", "cat"], level: 2 },
      events: [{ level: 2, approvers: ["cat"] }],
    });
  });

  test("stores the decision, and the answer of each approver", async () => {
    const votes = [vote("ann", "approve")];
    const answeredBy = { key_id: "key_1", person: "ann" };
    const reply = {
      is: "answered" as const,
      answer: { decision: "approve" },
      by: answeredBy,
      votes,
      openForMs: 5,
    };
    const { set } = await run(step(quorum), fakeContext({ state, reply }).context);
    expect(set["human_response"]).toEqual({
      decision: "approve",
      votes: [
        {
          person: "ann",
          decision: "approve",
          response: { decision: "approve", note: "of ann" },
          at: "2026-06-04T09:15:30.000Z",
        },
      ],
    });
  });
});
