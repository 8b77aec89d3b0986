import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunId, TenantId } from "../../../shared/contracts/ids.ts";
import { answerWait } from "../../../shared/store/runs/waits.ts";
import { RUN, bodyOf, runPath, startApp, startRun, type TestApp } from "../app.ts";
import { Life } from "../fake-workers.ts";

let app: TestApp;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app.stop());

const FIELDS = [
  { key: "decision", label: "Decision", type: "select", options: ["approve", "reject"], required: true },
  { key: "comment", label: "Comment", type: "textarea", options: null, required: false },
];

/** A run of a tenant of its own that asks a person in each of these steps. */
async function asking(steps: string[] = ["ask"], body: object = {}): Promise<Life> {
  const life = await Life.begin(app.world.sql, await startRun(app, { body: { message: "hi", ...body } }));
  await app.settled();
  await life.write({
    kind: "park",
    output: JSON.stringify({ step: "ask", visit: 1, reason: "answer", wait_id: "ask:1" }),
    status: "paused",
    wake_ms: 60_000,
    current_step: "ask",
    waits: steps.map((step_id) => ({
      wait_id: `${step_id}:1`,
      step_id,
      kind: "human",
      prompt: "Publish?",
      fields: JSON.stringify(FIELDS),
      deadline_ms: 60_000,
      child_run_id: null,
    })),
  });
  return life;
}

const resume = (run: string, body: unknown, key?: string) =>
  app.call("POST", runPath(run, "resume"), { body, ...(key === undefined ? {} : { key }) });
const approve = { response: { decision: "approve" } };
const statusOf = async (run: string) => bodyOf(await app.call("GET", runPath(run, "status")));

describe("a run that asks a person", () => {
  test("says so: what is asked, by which step, until when", async () => {
    const { run } = await asking();
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

  // Red when: the queue is not told of it, or the answer counts against the tenant's quota.
  test("goes on with the answer, though the tenant's queue is full", async () => {
    const tenant = TenantId.parse("full-desk");
    const limits = { tenant_id: tenant, max_concurrent_runs: 5, max_queued_runs: 1 };
    await app.call("POST", "/scale/tenants", { body: limits });
    const { run } = await asking(["ask"], { tenant_id: tenant });
    const { queue } = app.world;
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
    const [wait] = await app.world.sql`select answer from waits where run_id = ${run}`;
    expect(wait).toEqual({ answer: '{"decision":"approve"}' });
  });

  test("takes text as well, as an object that holds it", async () => {
    const { run } = await asking();
    expect((await resume(run, { response: { decision: "reject", extra: [1] } })).status).toBe(202);
    const [wait] = await app.world.sql`select answer, answered_by from waits where run_id = ${run}`;
    expect(wait).toMatchObject({
      answer: '{"decision":"reject","extra":[1]}',
      answered_by: expect.stringMatching(/^key_/),
    });
    const free = await asking(["free"]);
    await app.world.sql`update waits set fields = '[]' where run_id = ${free.run}`;
    expect((await resume(free.run, { response: "go on" })).status).toBe(202);
    const [text] = await app.world.sql`select answer from waits where run_id = ${free.run}`;
    expect(text).toEqual({ answer: '{"response":"go on"}' });
  });

  // Red when: an answer is not checked against the form, or a refused one is kept.
  test("refuses an answer that its form does not take, and goes on waiting", async () => {
    const { run } = await asking();
    const answer = await resume(run, { response: { decision: "maybe", comment: 5 } });
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({
      code: "invalid",
      errors: [
        { path: "response.decision", message: "must be one of approve, reject" },
        { path: "response.comment", message: "must be text" },
      ],
    });
    // Red when: a body without an answer is one: a misspelt field would use the question up.
    expect((await resume(run, {})).status).toBe(422);
    expect((await resume(run, { answer: { decision: "approve" } })).status).toBe(422);
    expect((await app.call("POST", runPath(run, "resume"))).status).toBe(415);
    // Red when: each value may be as deep as the worker takes the whole to be.
    const deep = JSON.parse(`${"[".repeat(65)}${"]".repeat(65)}`);
    expect((await resume(run, { response: { decision: "approve", deep } })).status).toBe(422);
    expect((await resume(run, { response: 5 })).status).toBe(422);
    expect(await statusOf(run)).toMatchObject({ status: "paused", waiting_for_human: true });
  });

  // Red when: `answered_at is null` is not asked for.
  test("takes one of many answers at the same moment; the others are told 409", async () => {
    const { run } = await asking();
    const answers = await Promise.all(Array.from({ length: 8 }, () => resume(run, approve)));
    const codes = answers.map(({ status }) => status).toSorted((a, b) => a - b);
    expect(codes).toEqual([202, ...Array.from({ length: 7 }, () => 409)]);
    const late = await resume(run, approve);
    expect([late.status, (await bodyOf(late)).code]).toEqual([409, "not_waiting"]);
  });

  // Red when: an answer is to whatever is open when it arrives: it would be one to a question that nobody has read.
  test("takes an answer to the question that it names, and to no other", async () => {
    const { run } = await asking();
    const named = { ...approve, question_id: "ask:1" };
    const other = await resume(run, { ...approve, question_id: "ask:2" });
    expect([other.status, (await bodyOf(other)).code]).toEqual([409, "not_waiting"]);
    expect((await resume(run, named)).status).toBe(202);
    await app.world.sql`
      insert into waits (run_id, wait_id, step_id, kind) values (${run}, 'ask:2', 'ask', 'human')`;
    expect((await resume(run, { response: { decision: "reject" }, question_id: "ask:1" })).status).toBe(409);
    const open = await app.world.sql`select wait_id from waits where run_id = ${run} and answered_at is null`;
    expect(open).toEqual([{ wait_id: "ask:2" }]);
  });

  // Red when: who does not know whether he was heard is told that somebody else was, also after the run's end.
  test("takes the same answer again from whom it had it", async () => {
    const { run } = await asking();
    const named = { ...approve, question_id: "ask:1" };
    expect((await resume(run, named)).headers.get("idempotent-replayed")).toBeNull();
    const again = async (key?: string) => {
      const answer = await resume(run, named, key);
      return [answer.status, answer.headers.get("idempotent-replayed")];
    };
    expect(await again()).toEqual([202, "true"]);
    expect(await again(await app.world.key(null))).toEqual([409, null]);
    await app.call("POST", runPath(run, "cancel"));
    expect(await again()).toEqual([202, "true"]);
    expect((await resume(run, { ...named, question_id: "ask:9" })).status).toBe(409);
  });

  // Red when: what is named is answered though it was not read: without its form, or a wait that is no person's.
  test("takes no answer to what it has not asked a person", async () => {
    const { run } = await asking();
    const child = RunId.parse("run_0000000000ff_1800000000000");
    await app.world.sql`
      insert into waits (run_id, wait_id, step_id, kind, child_run_id) values (${run}, 'child:1', 'c', 'child', ${child})`;
    const forged = await resume(run, { response: { status: "completed" }, question_id: "child:1" });
    expect([forged.status, (await bodyOf(forged)).code]).toEqual([409, "not_waiting"]);
    expect((await resume(run, { ...approve, question_id: "ask:7" })).status).toBe(409);
    expect((await resume(run, { ...approve, question_id: "a\u0000b" })).status).toBe(422);
    const open = await app.world
      .sql`select wait_id from waits where run_id = ${run} and answered_at is null order by wait_id`;
    expect(open).toEqual([{ wait_id: "ask:1" }, { wait_id: "child:1" }]);
  });

  test("in several steps wants to hear which is meant", async () => {
    const { run } = await asking(["one", "two"]);
    const unnamed = await resume(run, approve);
    expect([unnamed.status, (await bodyOf(unnamed)).detail]).toEqual([
      422,
      "Not valid: question_id must name one of the questions that are open: one:1, two:1.",
    ]);
    expect((await resume(run, { ...approve, step_id: "three" })).status).toBe(409);
    expect((await resume(run, { ...approve, step_id: "two" })).status).toBe(202);
    const rows = await app.world.sql`select wait_id from waits where run_id = ${run} and answered_at is null`;
    expect(rows).toEqual([{ wait_id: "one:1" }]);
  });
});

describe("an answer", () => {
  test("to a run that asks nothing, has ended, is another tenant's, or does not exist is refused", async () => {
    const queued = await startRun(app);
    const idle = await resume(queued, approve);
    expect([idle.status, (await bodyOf(idle)).code]).toEqual([409, "not_waiting"]);
    const { run } = await asking();
    const stranger = await app.world.key(TenantId.parse("stranger"));
    expect((await resume(run, approve, stranger)).status).toBe(404);
    await app.call("POST", runPath(run, "cancel"));
    const over = await resume(run, approve);
    expect([over.status, (await bodyOf(over)).code]).toEqual([409, "run_finished"]);
    expect((await resume("run_000000000000_1", approve)).status).toBe(404);
  });

  // Red when: a retry leaves the question of the first life open.
  test("of the first life is nothing to the second", async () => {
    const { run } = await asking();
    await app.call("POST", runPath(run, "cancel"));
    expect((await app.call("POST", runPath(run, "retry"))).status).toBe(202);
    await app.settled();
    expect((await resume(run, approve)).status).toBe(409);
    expect(await answerWait(app.world.sql, null, RunId.parse(run), "ask:1", "{}", "ann")).toMatchObject({
      is: "taken",
      by: "retry",
    });
  });
});
