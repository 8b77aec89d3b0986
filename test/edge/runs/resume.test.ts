import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { answerWait } from "../../../shared/store/runs/answer-wait.ts";
import { CLOSED_BY, readWaits } from "../../../shared/store/runs/waits.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { FakeWorker } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const FIELDS = [
  { key: "decision", label: "Decision", type: "select", options: ["approve", "reject"], required: true },
  { key: "comment", label: "Comment", type: "textarea", options: null, required: false },
];

/** A paused run that asks a person one question in each of these steps. */
async function runWithQuestions(
  steps: string[] = ["ask"],
  body: object = {},
  changes: object = {},
): Promise<FakeWorker> {
  const worker = await FakeWorker.claim(
    app.stores.sql,
    await startRun(app, { body: { message: "hi", ...body } }),
  );
  await app.settled();
  await worker.write({
    kind: "park",
    step_path: "ask",
    output: JSON.stringify({ step: "ask", visit: 1, reason: "answer", wait_id: "ask:1" }),
    status: "paused",
    wake_ms: 60_000,
    waits: steps.map((step_id) => ({
      wait_id: `${step_id}:1`,
      step_id,
      kind: "human",
      prompt: "Publish?",
      fields: JSON.stringify(FIELDS),
      deadline_ms: 60_000,
      child_run_id: null,
      ...changes,
    })),
  });
  return worker;
}

const resume = (run: string, body: unknown, key?: string) =>
  app.call("POST", runPath(run, "resume"), { body, ...(key === undefined ? {} : { key }) });
const approve = { response: { decision: "approve" } };
const statusOf = async (run: string) => bodyOf(await app.call("GET", runPath(run, "status")));

describe("a run with an open question", () => {
  test("shows the question, its step and its deadline", async () => {
    const { run } = await runWithQuestions();
    expect(await statusOf(run)).toMatchObject({
      status: "paused",
      waiting_for_human: true,
      current_step_id: "ask",
      waiting: {
        reason: "human",
        question_id: "ask:1",
        step_id: "ask",
        prompt: "Publish?",
        fields: FIELDS,
        expires_at: expect.any(String),
      },
    });
    const why = await bodyOf(await app.call("GET", runPath(run, "why")));
    expect(why).toMatchObject({ reason: "waiting", blocked_by: [{ kind: "answer", of: "human" }] });
    expect(String(why["sentence"])).toMatch(/^The run waits for a person to answer \(step ask\) since 20/);
  });

  // Fails when the job is not enqueued, or the answer counts against the tenant's quota.
  test("continues after the answer, although the tenant's queue is full", async () => {
    const tenant = TenantId.parse("full-desk");
    const limits = { tenant_id: tenant, max_concurrent_runs: 5, max_queued_runs: 1 };
    await app.call("POST", "/scale/tenants", { body: limits });
    const { run } = await runWithQuestions(["ask"], { tenant_id: tenant });
    const { queue } = app.stores;
    const claim = async () =>
      (
        await queue.claim({
          shard: 0,
          owner: "w",
          leaseMs: 15_000,
          slots: 100,
          lanes: { default: 100 },
          ended: [],
        })
      ).runs;
    expect(await claim()).toContainEqual({ run, tenant });
    const job = { run: RunId.parse(run), tenant, lane: "default" as const, score: 1 };
    await queue.release([{ ...job, status: "paused", delayMs: 60_000 }], "w");
    const other = await startRun(app, { body: { tenant_id: tenant } });
    await app.settled();
    expect((await app.call("POST", RUN, { body: { tenant_id: tenant } })).status).toBe(429);
    const answer = await resume(run, approve);
    expect([answer.status, await answer.json()]).toEqual([
      202,
      { run_id: run, status: "resuming", stream_url: `/api/v2/orchestrations/runs/${run}/stream` },
    ]);
    await app.settled();
    expect(await statusOf(run)).toMatchObject({ status: "queued", waiting_for_human: false, waiting: null });
    expect((await claim()).map((each) => each.run)).toEqual([run, other]);
    const [wait] = await app.stores.sql`select answer from waits where run_id = ${run}`;
    expect(wait).toEqual({ answer: '{"decision":"approve"}' });
  });

  test("accepts an object or a text, and stores the text as an object", async () => {
    const { run } = await runWithQuestions();
    expect((await resume(run, { response: { decision: "reject", extra: [1] } })).status).toBe(202);
    const [wait] = await app.stores.sql`select answer, answered_by from waits where run_id = ${run}`;
    expect(wait).toMatchObject({
      answer: '{"decision":"reject","extra":[1]}',
      answered_by: expect.stringMatching(/^key_/),
    });
    const noForm = await runWithQuestions(["free"]);
    await app.stores.sql`update waits set fields = '[]' where run_id = ${noForm.run}`;
    expect((await resume(noForm.run, { response: "go on" })).status).toBe(202);
    const [text] = await app.stores.sql`select answer from waits where run_id = ${noForm.run}`;
    expect(text).toEqual({ answer: '{"response":"go on"}' });
  });

  // Fails when an answer is not validated against the form, or a refused answer is stored.
  test("refuses an answer that does not fit its form, and stays paused", async () => {
    const { run } = await runWithQuestions();
    const answer = await resume(run, { response: { decision: "maybe", comment: 5 } });
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({
      code: "invalid",
      errors: [
        { path: "response.decision", message: "must be one of approve, reject" },
        { path: "response.comment", message: "must be text" },
      ],
    });
    // Fails when a body without `response` counts as an answer: a misspelt field would close the question.
    expect((await resume(run, {})).status).toBe(422);
    expect((await resume(run, { answer: { decision: "approve" } })).status).toBe(422);
    expect((await app.call("POST", runPath(run, "resume"))).status).toBe(415);
    // Fails when each value may be as deep as the worker allows the whole answer to be.
    const deep = JSON.parse(`${"[".repeat(65)}${"]".repeat(65)}`);
    expect((await resume(run, { response: { decision: "approve", deep } })).status).toBe(422);
    expect((await resume(run, { response: 5 })).status).toBe(422);
    expect(await statusOf(run)).toMatchObject({ status: "paused", waiting_for_human: true });
  });

  // Fails when the statement does not check `answered_at is null`.
  test("accepts one of many answers at the same moment; the others get 409", async () => {
    const { run } = await runWithQuestions();
    const answers = await Promise.all(Array.from({ length: 8 }, () => resume(run, approve)));
    const codes = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    expect(codes).toEqual([202, ...Array.from({ length: 7 }, () => 409)]);
    const late = await resume(run, approve);
    expect([late.status, (await bodyOf(late)).code]).toEqual([409, "not_waiting"]);
  });

  // Fails when an answer that names a question goes to another question that is open when it arrives.
  test("accepts an answer for the named question, and for no other", async () => {
    const { run } = await runWithQuestions();
    const named = { ...approve, question_id: "ask:1" };
    const other = await resume(run, { ...approve, question_id: "ask:2" });
    expect([other.status, (await bodyOf(other)).code]).toEqual([409, "not_waiting"]);
    expect((await resume(run, named)).status).toBe(202);
    await app.stores.sql`
      insert into waits (run_id, wait_id, step_id, kind) values (${run}, 'ask:2', 'ask', 'human')`;
    expect((await resume(run, { response: { decision: "reject" }, question_id: "ask:1" })).status).toBe(409);
    const open = await app.stores
      .sql`select wait_id from waits where run_id = ${run} and answered_at is null`;
    expect(open).toEqual([{ wait_id: "ask:2" }]);
  });

  // Fails when a client that repeats its own answer gets 409, also after the run has ended.
  test("accepts the same answer again from the same key", async () => {
    const { run } = await runWithQuestions();
    const named = { ...approve, question_id: "ask:1" };
    expect((await resume(run, named)).headers.get("idempotent-replayed")).toBeNull();
    const repeat = async (key?: string) => {
      const answer = await resume(run, named, key);
      return [answer.status, answer.headers.get("idempotent-replayed")];
    };
    expect(await repeat()).toEqual([202, "true"]);
    expect(await repeat(await app.stores.key(null))).toEqual([409, null]);
    await app.call("POST", runPath(run, "cancel"));
    expect(await repeat()).toEqual([202, "true"]);
    expect((await resume(run, { ...named, question_id: "ask:9" })).status).toBe(409);
    const other = await resume(run, { ...named, response: { decision: "reject" } });
    expect([other.status, (await bodyOf(other)).detail]).toEqual([
      409,
      "The question already has an answer.",
    ]);
  });

  test("accepts the same answer again with its fields in another order", async () => {
    const { run } = await runWithQuestions();
    const named = { question_id: "ask:1" };
    await resume(run, { ...named, response: { decision: "approve", comment: "fine" } });
    const again = await resume(run, { ...named, response: { comment: "fine", decision: "approve" } });
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([202, "true"]);
  });

  // Fails when a person who answers too late cannot see whether another answer was taken.
  test("says of a question that takes no answer whether it has expired", async () => {
    const { run } = await runWithQuestions();
    await app.stores.sql`update waits set deadline_at = now() where run_id = ${run}`;
    await readWaits(app.stores.sql, RunId.parse(run), ["ask:1"]);
    const late = await resume(run, { ...approve, question_id: "ask:1" });
    expect([late.status, (await bodyOf(late)).detail]).toEqual([
      409,
      "The question has expired: no answer came in time.",
    ]);
    await app.stores.sql`update waits set answered_by = ${CLOSED_BY.branch} where run_id = ${run}`;
    const closed = await resume(run, { ...approve, question_id: "ask:1" });
    expect([closed.status, (await bodyOf(closed)).detail]).toEqual([
      409,
      "The question is closed: another step of its branch has failed.",
    ]);
  });

  // Fails when a client that answers at the parent is not told where the question of its child is answered.
  test("of a child is answered at the child, as the parent says", async () => {
    const { run } = await runWithQuestions();
    const parent = await startRun(app);
    const detailOf = async () => (await bodyOf(await resume(parent, approve))).detail;
    expect(await detailOf()).toBe("The run has no open question at this moment.");
    await app.stores.sql`update runs set parent_run_id = ${parent} where run_id = ${run}`;
    await app.stores.sql`update runs set attempt = 1 where run_id = ${parent}`;
    expect(await detailOf()).toBe(
      "The run has no open question at this moment. What its child runs ask is answered at these: see waits in its status.",
    );
  });

  // Fails when an answer names a wait that is not an open question with a form, and is accepted.
  test("accepts no answer to a wait that is not a question", async () => {
    const { run } = await runWithQuestions();
    const child = RunId.parse("run_0000000000ff_1800000000000");
    await app.stores.sql`
      insert into waits (run_id, wait_id, step_id, kind, child_run_id) values (${run}, 'child:1', 'c', 'child', ${child})`;
    const forged = await resume(run, { response: { status: "completed" }, question_id: "child:1" });
    expect([forged.status, (await bodyOf(forged)).code]).toEqual([409, "not_waiting"]);
    expect((await resume(run, { ...approve, question_id: "ask:7" })).status).toBe(409);
    expect((await resume(run, { ...approve, question_id: "a\u0000b" })).status).toBe(422);
    const open = await app.stores
      .sql`select wait_id from waits where run_id = ${run} and answered_at is null order by wait_id`;
    expect(open).toEqual([{ wait_id: "ask:1" }, { wait_id: "child:1" }]);
  });

  test("in several steps requires the answer to name a question", async () => {
    const { run } = await runWithQuestions(["one", "two"]);
    const unnamed = await resume(run, approve);
    expect([unnamed.status, (await bodyOf(unnamed)).detail]).toEqual([
      409,
      "Several questions are open: question_id must name one of the questions that are open: one:1, two:1.",
    ]);
    expect((await resume(run, { ...approve, step_id: "three" })).status).toBe(409);
    expect((await resume(run, { ...approve, step_id: "two" })).status).toBe(202);
    const rows = await app.stores
      .sql`select wait_id from waits where run_id = ${run} and answered_at is null`;
    expect(rows).toEqual([{ wait_id: "one:1" }]);
  });
});

// Fails when a question is looked for among the first hundred of its run alone: the others would take no answer.
test("each of more than a hundred open questions takes an answer that names it, or its step", async () => {
  const steps = Array.from({ length: 150 }, (_, n) => `ask_${n}`);
  const { run } = await runWithQuestions(steps);
  expect((await resume(run, { ...approve, question_id: "ask_99:1" })).status).toBe(202);
  expect((await resume(run, { ...approve, step_id: "ask_98" })).status).toBe(202);
  const wrong = await resume(run, { ...approve, question_id: "ask_97:1", step_id: "ask_96" });
  expect([wrong.status, (await bodyOf(wrong)).code]).toEqual([409, "not_waiting"]);
});

describe("an answer", () => {
  test("to a run without a question, an ended run, another tenant's run or an unknown run is refused", async () => {
    const queued = await startRun(app);
    const idle = await resume(queued, approve);
    expect([idle.status, (await bodyOf(idle)).code]).toEqual([409, "not_waiting"]);
    const { run } = await runWithQuestions();
    const stranger = await app.stores.key(TenantId.parse("stranger"));
    expect((await resume(run, approve, stranger)).status).toBe(404);
    await app.call("POST", runPath(run, "cancel"));
    const over = await resume(run, approve);
    expect([over.status, (await bodyOf(over)).code]).toEqual([409, "run_finished"]);
    expect((await resume("run_000000000000_1", approve)).status).toBe(404);
  });

  // Fails when a retry leaves the question of the first life open.
  test("to a question from before a retry does not answer the question after the retry", async () => {
    const { run } = await runWithQuestions();
    await app.call("POST", runPath(run, "cancel"));
    expect((await app.call("POST", runPath(run, "retry"))).status).toBe(202);
    await app.settled();
    expect((await resume(run, approve)).status).toBe(409);
    const named = await resume(run, { ...approve, question_id: "ask:1" });
    expect([named.status, (await bodyOf(named)).detail]).toEqual([
      409,
      "The question is closed: it is from before a retry of the run.",
    ]);
    expect(
      await answerWait(app.stores.sql, {
        tenant: null,
        run: RunId.parse(run),
        waitId: "ask:1",
        answer: "{}",
        by: "ann",
      }),
    ).toMatchObject({
      is: "taken",
      by: "retry",
    });
  });
});

describe("a question with approvers", () => {
  const askTwoOfThree = (changes: object = {}) =>
    runWithQuestions(["ask"], {}, { approvers: ["ann", "bob", "cat"], approvals_needed: 2, ...changes });
  const vote = (run: string, answered_by: string | undefined, decision = "approve", more: object = {}) =>
    resume(run, { response: { decision }, ...(answered_by && { answered_by }), ...more });

  test("shows its approvers, the votes so far, and how many approvals are missing", async () => {
    const { run } = await askTwoOfThree();
    const first = await vote(run, "bob");
    expect([first.status, await first.json()]).toMatchObject([202, { run_id: run, status: "waiting" }]);
    expect(await statusOf(run)).toMatchObject({
      status: "paused",
      waiting: {
        approval: {
          approvers: ["ann", "bob", "cat"],
          needed: 2,
          approved: 1,
          rejected: 0,
          level: 0,
          votes: [{ person: "bob", decision: "approve", at: expect.stringMatching(/^20.*Z$/) }],
        },
      },
    });
    const last = await vote(run, "ann");
    expect([last.status, await last.json()]).toMatchObject([202, { status: "resuming" }]);
    await app.settled();
    expect(await statusOf(run)).toMatchObject({ status: "queued", waiting: null });
  });

  // Fails when the decision counts as the misspelt name of a field that the approver leaves out: nobody could approve.
  test("takes the decision of an approver beside a form with a field of almost that name", async () => {
    const fields = JSON.stringify([
      { key: "decisions", label: "Decisions", type: "text", options: null, required: false },
    ]);
    const { run } = await askTwoOfThree({ fields });
    expect((await vote(run, "ann")).status).toBe(202);
  });

  // Fails when an answer without a person, of a stranger, or without a decision counts.
  test.each([
    [{}, "answered_by", "is required for this question: it must be one of ann, bob, cat"],
    [
      { answered_by: "eve" },
      "answered_by",
      "names a person who may not answer: it must be one of ann, bob, cat",
    ],
    [
      { answered_by: "ann", response: { decision: "maybe" } },
      "response.decision",
      "must be one of approve, reject",
    ],
    [
      { answered_by: "ann", response: { decision: "approve", note: "x".repeat(16_384) } },
      "response",
      "of an approver may have at most 16384 bytes",
    ],
  ])("refuses an answer with a wrong part, and names it (%#)", async (body, path, message) => {
    const { run } = await askTwoOfThree({ fields: "[]" });
    const refused = await resume(run, { ...approve, ...body });
    expect([refused.status, (await bodyOf(refused))["errors"]]).toEqual([422, [{ path, message }]]);
    expect(await statusOf(run)).toMatchObject({ waiting: { approval: { votes: [] } } });
  });

  test("takes one answer of each person, and the same answer again to the named question", async () => {
    const { run } = await askTwoOfThree();
    const named = { question_id: "ask:1" };
    await vote(run, "ann", "approve", named);
    const repeated = await vote(run, "ann", "approve", named);
    expect([
      repeated.status,
      repeated.headers.get("idempotent-replayed"),
      (await bodyOf(repeated))["status"],
    ]).toEqual([202, "true", "waiting"]);
    const changed = await vote(run, "ann", "reject", named);
    expect([changed.status, (await bodyOf(changed))["detail"]]).toEqual([
      409,
      "ann has answered the question already.",
    ]);
    await vote(run, "bob", "approve", named);
    const late = await vote(run, "bob", "approve", named);
    expect([late.status, (await bodyOf(late))["status"]]).toEqual([202, "resuming"]);
    expect((await vote(run, "cat", "approve", named)).status).toBe(409);
  });

  test("and without approvals_needed takes the first answer, and records its person", async () => {
    const { run } = await runWithQuestions(["ask"], {}, { approvers: ["ann", "bob"] });
    expect((await vote(run, "eve")).status).toBe(422);
    expect((await vote(run, "bob")).status).toBe(202);
    expect((await vote(run, "ann")).status).toBe(409);
    const [wait] = await app.stores.sql`select answered_by, person from waits where run_id = ${run}`;
    expect(wait).toEqual({ answered_by: expect.stringMatching(/^key_/), person: "bob" });
  });
});

// Fails when the default of a field is stored in place of the value that was sent under its misspelt name.
test("an answer with the misspelt name of a field that has a default is refused", async () => {
  const fields = JSON.stringify([
    { key: "publish", label: "Publish", type: "boolean", options: null, required: false, default: true },
  ]);
  const { run } = await runWithQuestions(["ask"], {}, { fields });
  const answer = await resume(run, { response: { publsh: false } });
  expect([answer.status, await answer.json()]).toMatchObject([
    422,
    { errors: [{ path: "response.publsh" }] },
  ]);
});

// Fails when the defaults are missing in the stored answer, or a repetition is compared without them.
test("an answer gets the defaults of its form, and is accepted again as it was sent", async () => {
  const fields = JSON.stringify([
    { key: "note", label: "Note", type: "text", options: null, required: true, default: "none" },
  ]);
  const { run } = await runWithQuestions(["ask"], {}, { fields });
  const sent = { response: {}, question_id: "ask:1", answered_by: "ann" };
  expect((await resume(run, sent)).status).toBe(202);
  const [wait] = await app.stores.sql`select answer from waits where run_id = ${run}`;
  expect(wait).toEqual({ answer: '{"note":"none"}' });
  expect((await resume(run, sent)).headers.get("idempotent-replayed")).toBe("true");
  expect((await resume(run, { ...sent, answered_by: "bob" })).status).toBe(409);
});
