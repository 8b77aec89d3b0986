import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { until } from "../services/waiting.ts";
import { startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

let api: FlowApi;
type Fields = JsonObject;

const define = (id: string, steps: Fields[], more: Fields = {}) =>
  api.define("orchestrations", id, {
    name: id,
    entry_step_id: steps[0]?.["id"] ?? "",
    steps: steps.map((step) => ({ name: step["id"] ?? "", ...step })),
    ...more,
  });
const print = (id: string, print_content: string, more: Fields = {}) => ({
  id,
  type: "print",
  print_content,
  output_key: id,
  ...more,
});
const nested = (id: string, orchestration_id: string, more: Fields = {}) => ({
  id,
  type: "orchestration",
  orchestration_id,
  output_key: id,
  ...more,
});

const ask = (id: string, next?: string) => ({
  id,
  type: "human",
  human_prompt: "Go on?",
  output_key: id,
  ...(next && { next_step_id: next }),
});

beforeAll(async () => {
  api = await startApi();
  await define("echo", [print("said", "{input} {state.topic}")], {
    state_schema: { topic: { default: "" } },
  });
  await define("asks", [ask("answer", "said"), print("said", "{state.answer.text}")]);
  await define("fails", [{ id: "code", type: "transform", transform_code: "throw new Error('no owls')" }]);
  await define("parent", [
    print("topic", "about owls", { next_step_id: "child" }),
    nested("child", "echo", { input: "write: {input}", input_keys: ["topic"], next_step_id: "boss" }),
    { id: "boss", type: "agent", agent_id: "boss", output_key: "boss", next_step_id: "last" },
    print("last", "got {state.child}"),
  ]);
  await api.define("agents", "boss", { name: "Boss", type: "orchestrator", orchestration_id: "echo" });
  await define("waits", [
    nested("child", "middle", { next_step_id: "last" }),
    print("last", "{state.child}"),
  ]);
  await define("middle", [nested("child", "asks")]);
  await define("itself", [nested("again", "itself")]);
  await define("breaks", [nested("child", "fails")]);
  await define("survives", [
    nested("child", "fails", { on_child_error: "continue", next_step_id: "last" }),
    print("last", "{state.child.error.code}"),
  ]);
  await define("fans", [
    {
      id: "each",
      type: "loop",
      for_each: "names",
      concurrency: 4,
      loop_step_ids: ["one"],
      output_key: "all",
    },
    nested("one", "echo", { input: "{item}" }),
  ]);
  await define("mixed", [
    { id: "all", type: "parallel", parallel_branches: [["person"], ["nap"], ["child"]] },
    ask("person"),
    { id: "nap", type: "wait", wait_seconds: 3_600 },
    nested("child", "asks"),
  ]);
  await define("later", [ask("first", "child"), nested("child", "echo")]);
  await api.startWorker("a");
  await api.startWorker("b");
});
afterAll(() => api.stop());

const statusOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "status")));
const resultOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "result")));
const whyOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "why")));
const typesOf = async (run: string) => {
  const stream = await (await api.call("GET", runPath(run, "stream"))).text();
  return Array.from(stream.matchAll(/,"seq":\d+,"type":"(\w+)"/g), ([, type]) => type).join(" ");
};
/** The child of a run. */
const childOf = async (run: string): Promise<string> => {
  const { children } = await statusOf(run);
  return String(Object(Object(children)[0]).run_id);
};
const untilChild = async (run: string): Promise<string> => {
  await until(`${run} has a child`, async () => (await childOf(run)) !== "undefined");
  return childOf(run);
};
const resume = (run: string) =>
  api.call("POST", runPath(run, "resume"), { body: { response: { text: "yes" } } });
/** While `act` runs no reconciler repairs the queue. A run that becomes due is then executed only if its job was enqueued. */
async function withoutRepairs(act: () => Promise<void>): Promise<void> {
  const { sql } = api.stores;
  const hold = (seconds: number) =>
    sql`update locks set holder = 'test', until = now() + ${seconds} * interval '1 second' where name = 'queue'`;
  await hold(3_600);
  try {
    await act();
  } finally {
    await hold(0);
  }
}
/** A run of `waits` whose grandchild asks a person. @returns the run, its child and its grandchild */
async function threeGenerations(): Promise<[string, string, string]> {
  const run = await api.start("waits");
  const child = await untilChild(run);
  const grandchild = await untilChild(child);
  for (const each of [grandchild, child, run]) await api.until(each, ["paused"]);
  return [run, child, grandchild];
}

describe("an orchestration step", () => {
  // Fails when the end of the child does not enqueue its parent.
  test("runs another orchestration as a run of its own, and goes on with its output without a repair", async () => {
    const run = await api.start("parent", { message: "hello", metadata: { user: "u1" } });
    await withoutRepairs(async () => expect(await untilEnd(api, run)).toBe("completed"));
    const result = await resultOf(run);
    expect(result).toMatchObject({
      output: "got write: hello about owls",
      final_state: { boss: expect.stringContaining("hello") },
      parent_run_id: null,
      children: [
        { step_id: "child", path: "child", orchestration_id: "echo", status: "completed" },
        { step_id: "boss", orchestration_id: "echo", status: "completed" },
      ],
      waits: [],
    });
    const child = await childOf(run);
    expect(await statusOf(child)).toMatchObject({
      parent_run_id: run,
      correlation_id: run,
      triggered_by: "system",
      metadata: { user: "u1" },
      children: [],
    });
    expect(await typesOf(run)).toMatch(
      /step_start child_started paused worker_picked_up child_completed final step_complete step_start/,
    );
    expect(await typesOf(child)).toMatch(/^worker_picked_up orchestration_start .* done$/);
  });

  test("shows which run it waits for, and ends when the grandchild has its answer", async () => {
    const [run, child, grandchild] = await threeGenerations();
    expect(await statusOf(run)).toMatchObject({
      waiting_for_human: false,
      waiting: { reason: "child", run_id: child, step_id: "child" },
    });
    expect(await whyOf(run)).toMatchObject({
      reason: "waiting",
      blocked_by: [{ kind: "answer", of: "child", run_id: child, path: "child" }],
    });
    // The queue holds all three as timers: none is queued, none has a slot.
    expect(await api.stores.redis.call("ZCARD", "synapse:orchestrations:default")).toBe(0);
    expect((await resume(grandchild)).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({ output: "yes" });
  });

  test("is shown beside the person and the time that other branches wait for", async () => {
    const run = await api.start("mixed");
    await api.until(run, ["paused"]);
    const child = await childOf(run);
    expect((await statusOf(run))["waits"]).toMatchObject([
      { reason: "human", path: "all[0].person" },
      { reason: "timer", path: "all[1].nap" },
      { reason: "child", path: "all[2].child", run_id: child },
    ]);
    expect((await whyOf(run))["blocked_by"]).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ of: "human" }),
        expect.objectContaining({ kind: "time" }),
        expect.objectContaining({ of: "child", run_id: child }),
      ]),
    );
    expect((await api.call("POST", runPath(run, "cancel"))).status).toBe(200);
  });

  // Fails when the jobs of waiting parents are kept in Redis alone.
  test("ends although Redis is emptied while it waits", async () => {
    const [run, , grandchild] = await threeGenerations();
    await api.stores.redis.flushall();
    await until("the answer is taken", async () => (await resume(grandchild)).status === 202);
    expect(await untilEnd(api, run)).toBe("completed");
  });

  test("fails when its child fails, or goes on with the error where on_child_error says so", async () => {
    const [breaks, survives] = [await api.start("breaks"), await api.start("survives")];
    expect(await untilEnd(api, breaks)).toBe("failed");
    expect(await statusOf(breaks)).toMatchObject({
      error: { code: "child_failed", step_id: "child", message: expect.stringContaining("no owls") },
    });
    expect(await untilEnd(api, survives)).toBe("completed");
    expect(await resultOf(survives)).toMatchObject({ output: "child_failed" });
  });

  test("of an orchestration that runs itself ends at the depth limit", async () => {
    const run = await api.start("itself");
    expect(await untilEnd(api, run)).toBe("failed");
    const rows = await api.stores
      .sql`select depth, error from runs where correlation_id = ${run} order by depth`;
    expect(rows.map(({ depth }) => depth)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
    expect(rows.at(-1)?.["error"]).toContain("child_depth");
  });

  test("in each iteration of a loop has children of its own", async () => {
    const names = Array.from({ length: 12 }, (_, i) => `owl ${i}`);
    const run = await api.start("fans", { state: { names } });
    expect(await untilEnd(api, run)).toBe("completed");
    const { final_state, children } = await resultOf(run);
    expect(final_state).toMatchObject({ one: names.map((name) => `${name} `) });
    expect(Object(children)).toHaveLength(12);
  });
});

describe("a cancel", () => {
  test("of a run ends its children and theirs", async () => {
    const family = await threeGenerations();
    expect((await api.call("POST", runPath(family[0], "cancel"))).status).toBe(200);
    for (const each of family) expect(await untilEnd(api, each)).toBe("cancelled");
  });

  // Fails when the edge, which ends a waiting child itself, does not enqueue the parent.
  test("of a child fails its parent without a repair", async () => {
    const [run, , grandchild] = await threeGenerations();
    await withoutRepairs(async () => {
      expect((await api.call("POST", runPath(grandchild, "cancel"))).status).toBe(200);
      expect(await untilEnd(api, run)).toBe("failed");
    });
    expect(await statusOf(run)).toMatchObject({
      error: { message: expect.stringContaining("child_cancelled") },
    });
  });
});

// Fails when a child passes no admission, its refusal fails the parent, or the status of the parent does not say why it waits.
test("a child waits for room in its tenant's queue, and its parent says so", async () => {
  const limit = (max_queued_runs: number) =>
    api.call("POST", "/api/scale/tenants", { body: { tenant_id: "crowded", max_queued_runs } });
  expect((await limit(1_000)).ok).toBe(true);
  const run = await api.start("later", { tenant_id: "crowded" });
  await api.until(run, ["paused"]);
  expect((await limit(0)).ok).toBe(true);
  expect((await resume(run)).status).toBe(202);
  await until(`${run} waits for room`, async () => JSON.stringify(await whyOf(run)).includes("queue_room"));
  // Either store may have counted: Postgres does while the queue is rebuilt, and an earlier test has emptied Redis.
  expect(await whyOf(run)).toMatchObject({
    state: "paused",
    sentence: expect.stringContaining("start a run of echo (step child): the tenant has "),
  });
  expect((await limit(1_000)).ok).toBe(true);
  expect(await untilEnd(api, run)).toBe("completed");
});
