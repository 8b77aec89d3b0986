import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Decision } from "../../../shared/contracts/approval.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import { flush } from "../../../shared/store/journal/flush.ts";
import { answerWait } from "../../../shared/store/runs/answer-wait.ts";
import { listOpenWaits } from "../../../shared/store/runs/open-waits.ts";
import type { NewWait } from "../../../shared/store/runs/waits.ts";
import { humanWait, parkEntry, readAllWaits } from "./family-fixture.ts";
import type { StartedRun } from "./family-fixture.ts";
import { acme, openStore } from "./store-fixture.ts";
import type { Store } from "./store-fixture.ts";

let store: Store;
beforeAll(async () => {
  store = await openStore();
});
afterAll(() => store.close());

/** A paused run that asks ann, bob and cat, of whom two must approve, unless `changes` say otherwise. */
async function startAsking(changes: Partial<NewWait> = {}): Promise<StartedRun> {
  const run = await store.startRun();
  const quorum = { fields: "[]", deadline_ms: 60_000, approvers: ["ann", "bob", "cat"], approvals_needed: 2 };
  await flush(store.sql, [parkEntry(run, [humanWait("w1", { ...quorum, ...changes })])]);
  return run;
}
const vote = (run: RunId, person: string, decision: Decision | null, answer = `{"decision":"${decision}"}`) =>
  answerWait(store.sql, { tenant: acme, run, waitId: "w1", answer, by: "key_1", person, decision });
const outcomes = async (run: RunId, ...votes: [string, Decision][]) => {
  const found: string[] = [];
  for (const [person, decision] of votes) found.push((await vote(run, person, decision)).is);
  return found;
};
const readWait = async (run: RunId) => (await readAllWaits(store.sql, run))[0];

describe("a question that needs two of three approvals", () => {
  test("stays open after the first, and goes on with the second", async () => {
    const { run_id } = await startAsking();
    expect(await vote(run_id, "ann", "approve")).toEqual({ is: "voted" });
    expect(await store.row(run_id)).toMatchObject({ status: "paused", signals: 0 });
    expect(await listOpenWaits(store.sql, run_id)).toMatchObject([
      {
        approvers: ["ann", "bob", "cat"],
        approvals_needed: 2,
        votes: [{ person: "ann", decision: "approve" }],
      },
    ]);
    expect(await vote(run_id, "cat", "approve")).toMatchObject({ is: "answered", run: { run_id } });
    expect(await store.row(run_id)).toMatchObject({ status: "queued", signals: 1 });
    expect(await readWait(run_id)).toMatchObject({
      state: "answered",
      answer: '{"decision": "approve"}',
      person: "cat",
      answered_by: "key_1",
      votes: [{ person: "ann" }, { person: "cat", key_id: "key_1", answer: '{"decision":"approve"}' }],
    });
  });

  // Fails when the question waits for votes that can no longer change the decision, or is rejected too early.
  test("is rejected as soon as two approvals can no longer be reached", async () => {
    const { run_id } = await startAsking();
    expect(await outcomes(run_id, ["ann", "reject"], ["bob", "approve"], ["cat", "reject"])).toEqual([
      "voted",
      "voted",
      "answered",
    ]);
    expect(await readWait(run_id)).toMatchObject({ answer: '{"decision": "reject"}' });
    const unanimous = await startAsking({ approvals_needed: 3 });
    expect(await outcomes(unanimous.run_id, ["bob", "reject"])).toEqual(["answered"]);
  });

  test("takes one vote of each approver, none of other persons, and none without a decision", async () => {
    const { run_id } = await startAsking();
    await vote(run_id, "ann", "approve");
    expect(await vote(run_id, "ann", "reject")).toMatchObject({
      is: "voted_before",
      votes: [{ decision: "approve" }],
    });
    expect(await vote(run_id, "eve", "approve")).toEqual({ is: "unknown" });
    expect(await vote(run_id, "bob", null)).toEqual({ is: "unknown" });
    expect(await readWait(run_id)).toMatchObject({ state: "open", votes: [{ person: "ann" }] });
  });

  // Fails when the count of a vote is that of before the other vote: no vote, or both, would close the question.
  test("is closed by exactly one of two last votes at the same moment", async () => {
    for (let n = 0; n < 8; n++) {
      const { run_id } = await startAsking();
      const replies = await Promise.all(
        ["ann", "bob", "cat"].map((person) => vote(run_id, person, "approve")),
      );
      expect(replies.map(({ is }) => is).toSorted()).toEqual(["answered", "taken", "voted"]);
      expect(await readWait(run_id)).toMatchObject({ votes: [{}, {}] });
      expect(await store.row(run_id)).toMatchObject({ signals: 1 });
    }
  });

  // Fails when a vote is stored as jsonb alone, which refuses these characters.
  test("keeps what an approver answered, byte for byte", async () => {
    const { run_id } = await startAsking();
    const answer = JSON.stringify({ decision: "approve", note: "nul \u0000, lone \udfff, \\u0000" });
    await vote(run_id, "ann", "approve", answer);
    expect((await readWait(run_id))?.votes?.[0]?.answer).toBe(answer);
  });
});

describe("an open question that goes to a further group", () => {
  const escalate = async (run: StartedRun, changes: Partial<NewWait> = {}) => {
    const claimed = { ...(await store.claim(run.owner, run.run_id)), owner: run.owner };
    const wider = { approvers: ["ann", "bob", "cat", "dan"], approvals_needed: 2, level: 1, deadline_ms: 1 };
    return flush(store.sql, [parkEntry(claimed, [humanWait("w1", { ...wider, ...changes })])]);
  };
  const due = (run: RunId) => store.sql`update runs set wake_at = now() where run_id = ${run}`;

  test("keeps its votes and its deadline, and takes answers of the new group", async () => {
    const run = await startAsking();
    await vote(run.run_id, "ann", "approve");
    await due(run.run_id);
    expect(await escalate(run)).toHaveLength(1);
    const wait = await readWait(run.run_id);
    expect(wait).toMatchObject({ state: "open", level: 1, votes: [{ person: "ann" }] });
    expect(wait?.due_in_ms).toBeGreaterThan(10_000);
    expect(await outcomes(run.run_id, ["dan", "approve"])).toEqual(["answered"]);
  });

  // Fails when a repeated park takes persons away, or an answered question changes.
  test("keeps its level against an earlier one, and after its answer", async () => {
    const run = await startAsking({ level: 2 });
    await due(run.run_id);
    await escalate(run);
    expect(await readWait(run.run_id)).toMatchObject({ level: 2 });
    await outcomes(run.run_id, ["ann", "approve"], ["bob", "approve"]);
    await escalate(run, { level: 3 });
    expect(await readWait(run.run_id)).toMatchObject({ level: 2, state: "answered" });
  });
});

test("a question with approvers and no number takes the first answer of any of them", async () => {
  const run = await store.startRun();
  await flush(store.sql, [parkEntry(run, [humanWait("w1", { approvers: ["ann", "bob"] })])]);
  expect(await vote(run.run_id, "eve", null)).toEqual({ is: "unknown" });
  expect(await vote(run.run_id, "bob", null, '{"ok":true}')).toMatchObject({ is: "answered" });
  expect(await readWait(run.run_id)).toMatchObject({ answer: '{"ok":true}', person: "bob", votes: [] });
});
