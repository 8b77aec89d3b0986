import { z } from "zod";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../services/waiting.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { WebhookReceiver } from "../worker-node/webhooks/webhook-receiver.ts";
import { count, startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;

const print = (id: string, content: string, next?: string) => ({
  id,
  name: id,
  type: "print",
  print_content: content,
  output_key: id,
  ...(next && { next_step_id: next }),
});
const ask = (fields: object) => ({
  id: "ask",
  name: "Approval",
  type: "human",
  human_prompt: "Publish {state.draft}?",
  human_fields: [{ key: "decision", type: "select", options: ["yes", "no"] }],
  output_key: "verdict",
  next_step_id: "last",
  ...fields,
});
const define = (id: string, human: object, more: object = {}) =>
  api.define("orchestrations", id, {
    name: id,
    entry_step_id: "draft",
    steps: [print("draft", "the text", "ask"), ask(human), print("last", "{state.verdict.decision}")],
    ...more,
  });
const defineWait = (id: string, wait: object) =>
  api.define("orchestrations", id, {
    name: id,
    entry_step_id: "nap",
    steps: [
      { id: "nap", name: "Nap", type: "wait", next_step_id: "last", ...wait },
      { id: "last", type: "print", print_content: "rested" },
    ],
  });

beforeAll(async () => {
  api = await startApi();
  await define("asks", {});
  await define("hurries", { human_timeout_seconds: 3_600 });
  // The run may take a minute, and the answer a day.
  await define("short", { human_timeout_seconds: 86_400 }, { timeout_minutes: 1 });
  await define("panel", {
    approvers: ["ann", "bob"],
    approvals_needed: 2,
    escalate_to: [{ after_seconds: 1, approvers: ["cat"] }],
    human_fields: [{ key: "note", default: "none" }],
  });
  await define("defaults", {
    human_timeout_seconds: 1,
    on_timeout: "default",
    human_fields: [{ key: "decision", default: "no", required: true }],
  });
  await defineWait("naps", { wait_seconds: 1 });
  await defineWait("sleeps", { wait_seconds: "{input}" });
  await api.startWorker("a", { EGRESS_ALLOW: "127.0.0.1" });
});
afterAll(() => api.stop());

const resume = (run: string, decision: string) =>
  api.call("POST", runPath(run, "resume"), { body: { response: { decision } } });
const statusOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "status")));
const resultOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "result")));
/** The types of the run's events, in order. */
const typesOf = async (run: string) => {
  const stream = await (await api.call("GET", runPath(run, "stream"))).text();
  return Array.from(stream.matchAll(/,"seq":\d+,"type":"(\w+)"/g), ([, type]) => type).join(" ");
};

describe.concurrent("a run with a question", () => {
  // Fails when a human step holds its slot, the answer does not reach state, or an event is missing.
  test("parks without a worker, and goes on with the answer in the same journal", async () => {
    const run = await api.start("asks");
    await api.until(run, ["paused"]);
    await api.workers[0]?.untilLogged(
      "run.execution_ended",
      (line) => line["run"] === run && line["ending"] === "parked",
    );
    expect(await statusOf(run)).toMatchObject({ waiting: { prompt: "Publish the text?" } });
    expect((await resume(run, "yes")).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({
      output: "yes",
      final_state: { verdict: { decision: "yes" }, human_response: { decision: "yes" }, last: "yes" },
      attempt: 2,
    });
    expect(await typesOf(run)).toBe(
      "worker_picked_up orchestration_start step_start final step_complete step_start " +
        "human_input_required paused worker_picked_up human_response step_complete " +
        "step_start final step_complete orchestration_complete final done",
    );
  });

  // Fails when an answer is not checked against the pattern of the definition, or a hostile pattern is saved.
  test("takes an answer that fits the pattern of its field, and no other", async () => {
    const fields = (pattern: string) => [{ key: "decision", type: "text", pattern }];
    await define("orders", { human_fields: fields(String.raw`[A-Z]{2}-\d+`) });
    const run = await api.start("orders");
    await api.until(run, ["paused"]);
    const refused = await resume(run, "AB12");
    expect([refused.status, (await bodyOf(refused))["errors"]]).toEqual([
      422,
      [{ path: "response.decision", message: expect.stringContaining("must fit the pattern") }],
    ]);
    expect((await resume(run, "AB-12")).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({ output: "AB-12" });
    // Patterns for which a backtracking engine may need exponential time, one that is too long, and one that is malformed.
    for (const pattern of ["(a+)+$", "(?=a)", "a|b", "a*".repeat(101), "[z-a]"]) {
      const saved = await api.call("PUT", "/api/v2/orchestrations/hostile", {
        body: {
          name: "Hostile",
          entry_step_id: "ask",
          steps: [{ id: "ask", name: "A", type: "human", human_prompt: "?", human_fields: fields(pattern) }],
        },
      });
      expect([saved.status, (await bodyOf(saved))["errors"]]).toEqual([
        422,
        [expect.objectContaining({ path: "steps[0].human_fields[0].pattern" })],
      ]);
    }
  });

  // Fails when nothing acts on the deadline, or the error does not name the limit.
  test("fails when its question is not answered in time, and its error names the limit", async () => {
    const run = await api.start("hurries");
    await api.until(run, ["paused"]);
    // The hour passes.
    const { sql } = api.stores;
    await sql`
      update waits set opened_at = opened_at - interval '1 hour', deadline_at = deadline_at - interval '1 hour'
      where run_id = ${run}`;
    await sql`update runs set wake_at = now() - interval '3 seconds' where run_id = ${run}`;
    expect(await untilEnd(api, run)).toBe("failed");
    expect(await statusOf(run)).toMatchObject({
      error: { code: "human_timeout", message: "no answer came within 3600 s", step_id: "ask" },
    });
    expect((await resume(run, "yes")).status).toBe(409);
    // A retry opens a new question.
    expect((await api.call("POST", runPath(run, "retry"))).status).toBe(202);
    await api.until(run, ["paused"]);
    expect((await resume(run, "no")).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({ output: "no" });
    expect(await count(api, run, "human_input_required")).toBe(2);
  });

  // Fails when the time until the answer counts as the run's time.
  test("does not use up its own time while the question is open", async () => {
    const run = await api.start("short");
    await api.until(run, ["paused"]);
    // An hour passes.
    const { sql } = api.stores;
    await sql`update waits set opened_at = opened_at - interval '1 hour' where run_id = ${run}`;
    await sql`
      update runs set started_at = started_at - interval '1 hour', paused_at = paused_at - interval '1 hour'
      where run_id = ${run}`;
    expect((await resume(run, "yes")).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    const [step] = Object.values(Object((await resultOf(run))["steps"])).slice(1, 2);
    expect(Object(step)).toMatchObject({ step_id: "ask", step_type: "human" });
    expect(Object(step).duration_seconds).toBeGreaterThan(3_600);
  });

  // Fails when a group gets no delivery, or two, or the votes of several persons are not one answer.
  test("that is not answered goes to the next group, and needs the approvals of two persons", async () => {
    const receiver = await WebhookReceiver.listen();
    const run = await api.start("panel", { webhook_url: receiver.url() });
    const bodies = (await receiver.waitForRequests(2)).map(({ body }) => JSON.parse(body));
    // Deliveries may overtake each other.
    const inOrder = bodies.toSorted((a, b) => (a.waiting.level ?? 0) - (b.waiting.level ?? 0));
    const asked = { question_id: "ask:1", step_id: "ask", prompt: "Publish the text?", approvals_needed: 2 };
    expect(inOrder).toMatchObject([
      { type: "run.waiting", run_id: run, waiting: { ...asked, approvers: ["ann", "bob"] } },
      { type: "run.waiting", run_id: run, waiting: { ...asked, approvers: ["cat"], level: 1 } },
    ]);
    const vote = async (answered_by: string) => {
      const body = { response: { decision: "approve" }, answered_by, question_id: "ask:1" };
      return (await bodyOf(await api.call("POST", runPath(run, "resume"), { body })))["status"];
    };
    expect(await vote("ann")).toBe("waiting");
    expect(await statusOf(run)).toMatchObject({
      status: "paused",
      waiting: { approval: { approvers: ["ann", "bob", "cat"], needed: 2, approved: 1, level: 1 } },
    });
    expect(await vote("cat")).toBe("resuming");
    expect(await untilEnd(api, run)).toBe("completed");
    const result = await resultOf(run);
    const response = { decision: "approve", note: "none" };
    expect(result).toMatchObject({
      output: "approve",
      final_state: {
        verdict: {
          decision: "approve",
          votes: [
            { person: "ann", response },
            { person: "cat", response },
          ],
        },
      },
    });
    expect(Object(result["steps"])[1]).toMatchObject({
      step_id: "ask",
      answered_by: { key_id: expect.stringMatching(/^key_/), person: "cat" },
    });
    expect(await count(api, run, "human_escalated")).toBe(1);
    receiver.close();
  });

  test("that is not answered in time goes on with its defaults", async () => {
    const run = await api.start("defaults");
    expect(await untilEnd(api, run)).toBe("completed");
    const result = await resultOf(run);
    expect(result).toMatchObject({ output: "no", final_state: { verdict: { decision: "no" } } });
    expect(Object(result["steps"])[1]).toMatchObject({ step_id: "ask", answered_by: null });
    expect(await typesOf(run)).toContain("worker_picked_up human_timed_out human_response step_complete");
  });

  // Fails when a park and an answer that do not see each other are both committed: the run would stay parked with its answer.
  test("goes on with an answer that comes at the moment of the park", async () => {
    const runs = await Promise.all(Array.from({ length: 30 }, () => api.start("asks")));
    await Promise.all(
      runs.map(async (run) => {
        await until(`${run} takes its answer`, async () => (await resume(run, "yes")).status === 202);
      }),
    );
    for (const run of runs) expect(await untilEnd(api, run)).toBe("completed");
  });
});

describe.concurrent("a run with a wait step", () => {
  // Fails when the step holds its slot, or nothing acts on its time.
  test("parks without a worker, and goes on at its time", async () => {
    const run = await api.start("naps");
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await typesOf(run)).toBe(
      "worker_picked_up orchestration_start step_start timer_started paused worker_picked_up step_complete " +
        "step_start final step_complete orchestration_complete final done",
    );
    const result = await resultOf(run);
    expect(result).toMatchObject({ output: "rested", attempt: 2 });
    const steps = z
      .array(z.object({ step_name: z.string(), duration_seconds: z.number() }))
      .parse(result["steps"]);
    // As events name them: a step without a name has its id.
    expect(steps.map(({ step_name }) => step_name)).toEqual(["Nap", "last"]);
    expect(steps[0]?.duration_seconds).toBeGreaterThanOrEqual(1);
  });

  // Fails when a client sees a question in a timer, or a retry after a cancel starts the whole time again.
  test("says until when it waits, can be cancelled, and keeps the rest of its time for a retry", async () => {
    const run = await api.start("sleeps", { message: "86400" });
    await api.until(run, ["paused"]);
    const paused = await statusOf(run);
    expect(paused).toMatchObject({
      waiting_for_human: false,
      current_step_id: "nap",
      waiting: { reason: "timer", step_id: "nap", path: "nap" },
    });
    const first = Object(paused["waiting"]);
    expect(Date.parse(first.until) - Date.parse(first.since)).toBe(86_400_000);
    expect(await bodyOf(await api.call("GET", runPath(run, "why")))).toMatchObject({
      reason: "waiting",
      blocked_by: [{ kind: "time", until: first.until, path: "nap" }],
      sentence: expect.stringMatching(/^The run waits for its time \(step nap\) since .*, until /),
    });
    const answer = await api.call("POST", runPath(run, "resume"), { body: { response: "go on" } });
    expect([answer.status, (await bodyOf(answer))["code"]]).toEqual([409, "not_waiting"]);
    expect((await api.call("POST", runPath(run, "cancel"))).status).toBe(200);
    expect(await statusOf(run)).toMatchObject({ status: "cancelled", waiting: null });
    await api.stores.sql`
      update waits set opened_at = opened_at - interval '1 hour', deadline_at = deadline_at - interval '1 hour'
      where run_id = ${run}`;
    expect((await api.call("POST", runPath(run, "retry"))).status).toBe(202);
    await api.until(run, ["paused"]);
    const again = Object((await statusOf(run))["waiting"]);
    expect(Date.parse(again.until)).toBeLessThan(Date.parse(first.until) - 3_500_000);
  });
});
