/** Parallel branches and loops on real stores, with worker processes. A test can delay and break the tools, and counts their calls. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { z } from "zod";
import type { JsonObject } from "../../shared/contracts/json.ts";
import { portOf } from "../../worker-node/ops/health-server.ts";
import { until } from "../services/waiting.ts";
import { bodyOf, runPath } from "../edge/app.ts";
import { count, startApi, untilEnd } from "./api.ts";
import type { FlowApi } from "./api.ts";

/** All calls of the tools. `broken`: the paths that answer 400. `held`: the paths whose responses wait for `release`. */
const calls: { path: string; key: string }[] = [];
const broken = new Set<string>();
const held = new Map<string, PromiseWithResolvers<void>>();
let server: Server;
let api: FlowApi;

const TOOLS = ["one", "two", "three"];
const tool = (id: string, more: JsonObject = {}): JsonObject => ({
  id,
  name: id,
  type: "tool",
  forced_tool: id,
  output_key: id,
  ...more,
});
const human = (id: string, more: JsonObject = {}): JsonObject => ({
  id,
  name: id,
  type: "human",
  human_prompt: `${id}?`,
  human_fields: [{ key: "decision", type: "text" }],
  output_key: id,
  ...more,
});
const fanout = (branches: string[][], more: JsonObject = {}): JsonObject => ({
  id: "fan",
  name: "Fan",
  type: "parallel",
  parallel_branches: branches,
  ...more,
});
/** Saves an orchestration that begins with the first of `steps`. */
const define = (id: string, ...steps: JsonObject[]) =>
  api.define("orchestrations", id, { name: id, entry_step_id: steps[0]?.["id"] ?? null, steps });

beforeAll(async () => {
  server = createServer((request, response) => {
    const path = new URL(request.url ?? "", "http://x").pathname.slice(1);
    calls.push({ path, key: String(request.headers["idempotency-key"]) });
    void Promise.resolve(held.get(path)?.promise).then(() =>
      response.writeHead(broken.has(path) ? 400 : 200).end(`"${path}"`),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${portOf(server)}`;
  api = await startApi();
  for (const name of TOOLS) {
    await api.define("tools", name, { name, tool_type: "http", method: "POST", url: `${base}/${name}` });
  }
  await api.startWorker("a", { EGRESS_ALLOW: "127.0.0.1", DEFAULT_MODEL: "demo/fast" });
});
afterAll(async () => {
  for (const { resolve } of held.values()) resolve();
  await api.stop();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  calls.length = 0;
  broken.clear();
  for (const { resolve } of held.values()) resolve();
  held.clear();
});

/** From now on the tool at this path responds only after `release`. */
const hold = (path: string): void => void held.set(path, Promise.withResolvers());
const release = (path: string): void => {
  held.get(path)?.resolve();
  held.delete(path);
};
const callsOf = (run: string) =>
  calls.filter(({ key }) => key.startsWith(run)).map(({ key }) => key.split(":").slice(1, 3).join(":"));
const resume = (run: string, body: JsonObject = {}) =>
  api.call("POST", runPath(run, "resume"), { body: { response: { decision: "yes" }, ...body } });
const statusOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "status")));
const resultOf = async (run: string) => bodyOf(await api.call("GET", runPath(run, "result")));
const yes = { decision: "yes" };

describe("branches of a run", () => {
  // Fails when the branches run one after the other, or a question holds the slot or the other branches.
  test("call their tools at the same time, and a question in one of them delays that branch alone", async () => {
    await define(
      "fans",
      fanout([["one"], ["two"], ["ask", "three"]], { output_key: "all", next_step_id: "merged" }),
      tool("one"),
      tool("two"),
      human("ask"),
      tool("three"),
      {
        id: "merged",
        name: "m",
        type: "merge",
        input_keys: ["one", "three"],
        merge_strategy: "dict",
        output_key: "m",
      },
    );
    hold("one");
    hold("two");
    const run = await api.start("fans");
    await until("both tools are called", () => callsOf(run).length === 2);
    await until("the person is asked", async () => (await count(api, run, "human_input_required")) === 1);
    expect((await statusOf(run)).status).toBe("running");
    release("one");
    release("two");
    await api.until(run, ["paused"]);
    expect(callsOf(run).toSorted()).toEqual(["fan[0].one:1", "fan[1].two:1"]);
    expect((await resume(run)).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    const result = await resultOf(run);
    expect(result).toMatchObject({
      attempt: 2,
      final_state: {
        one: "one",
        two: "two",
        ask: yes,
        three: "three",
        all: [
          { status: "completed", output: "one" },
          { status: "completed", output: "two" },
          { status: "completed", output: "three" },
        ],
        m: { "one (one)": "one", "three (three)": "three" },
      },
    });
    const paths = Object.values(Object(result["steps"])).map((step) => String(Object(step).path));
    expect(paths.toSorted()).toEqual([
      "fan",
      "fan[0].one",
      "fan[1].two",
      "fan[2].ask",
      "fan[2].three",
      "merged",
    ]);
  });

  // Fails when an answer waits until the run parks.
  test("go on with an answer that arrives while another branch moves, in the same claim", async () => {
    await define("answered", fanout([["ask", "one"], ["two"]]), human("ask"), tool("one"), tool("two"));
    hold("two");
    const run = await api.start("answered");
    await until("the person is asked", async () => (await count(api, run, "human_input_required")) === 1);
    expect(await statusOf(run)).toMatchObject({ status: "running", waiting_for_human: true });
    expect((await resume(run)).status).toBe(202);
    await until("the branch goes on", () => callsOf(run).includes("fan[0].one:1"));
    release("two");
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({ attempt: 1, final_state: { one: "one", two: "two" } });
    expect(await count(api, run, "paused")).toBe(0);
  });

  test("may have two open questions, and each answer names its step or its question", async () => {
    await define("asks", fanout([["left"], ["right"]]), human("left"), human("right"));
    const run = await api.start("asks");
    await api.until(run, ["paused"]);
    const unnamed = await resume(run);
    expect([unnamed.status, (await bodyOf(unnamed)).code]).toEqual([409, "several_questions"]);
    expect(await statusOf(run)).toMatchObject({
      waiting: { question_id: "fan[0].left:1" },
      waits: [
        { reason: "human", question_id: "fan[0].left:1", step_id: "left", path: "fan[0].left" },
        { reason: "human", question_id: "fan[1].right:1", step_id: "right", path: "fan[1].right" },
      ],
    });
    expect((await resume(run, { step_id: "right" })).status).toBe(202);
    await until("the branch has its answer", async () => (await count(api, run, "human_response")) === 1);
    await api.until(run, ["paused"]);
    expect(await statusOf(run)).toMatchObject({ waits: [{ question_id: "fan[0].left:1" }] });
    expect((await resume(run, { question_id: "fan[1].right:1" })).status).toBe(202);
    expect((await resume(run, { question_id: "fan[0].left:1" })).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({ final_state: { left: yes, right: yes } });
    expect(await count(api, run, "human_input_required")).toBe(2);
  });

  test("include iterations: of two with an open question each, an answer names the path", async () => {
    const loop = { id: "each", name: "Each", type: "loop", for_each: "state.items", concurrency: 2 };
    await api.define("orchestrations", "each", {
      name: "each",
      entry_step_id: "each",
      state_schema: { items: { type: "array", default: ["p", "q"] } },
      steps: [{ ...loop, loop_step_ids: ["ask"] }, human("ask", { human_prompt: "{item}?" })],
    });
    const run = await api.start("each");
    await api.until(run, ["paused"]);
    expect((await bodyOf(await resume(run, { step_id: "ask" }))).code).toBe("several_questions");
    for (const index of [1, 0]) {
      const response = { decision: `of ${index}` };
      expect((await resume(run, { response, question_id: `each[${index}].ask:1` })).status).toBe(202);
    }
    expect(await untilEnd(api, run)).toBe("completed");
    expect(await resultOf(run)).toMatchObject({
      final_state: { ask: [{ decision: "of 0" }, { decision: "of 1" }] },
    });
  });
});

describe("a branch that fails", () => {
  // Fails when a retry begins the branches anew.
  test("fails the run, whose retry does not repeat the branches that have ended", async () => {
    await define("fails", fanout([["one"], ["two"]]), tool("one"), tool("two"));
    broken.add("two");
    hold("two");
    const run = await api.start("fails");
    await until("the first branch has ended", async () => (await count(api, run, "step_complete")) === 1);
    release("two");
    expect(await untilEnd(api, run)).toBe("failed");
    expect(await statusOf(run)).toMatchObject({ error: { code: "tool_rejected", step_id: "two" } });
    broken.clear();
    expect((await api.call("POST", runPath(run, "retry"))).status).toBe(202);
    expect(await untilEnd(api, run)).toBe("completed");
    expect(callsOf(run).toSorted()).toEqual(["fan[0].one:1", "fan[1].two:1", "fan[1].two:1"]);
    expect(await resultOf(run)).toMatchObject({ final_state: { one: "one", two: "two" } });
  });

  test("at the timeout of the step around it fails that step", async () => {
    await define("late", fanout([["one"], ["two"]], { timeout_seconds: 1 }), tool("one"), tool("two"));
    hold("two");
    const run = await api.start("late");
    expect(await untilEnd(api, run)).toBe("failed");
    expect(await statusOf(run)).toMatchObject({ error: { code: "step_timeout", step_id: "fan" } });
    expect(callsOf(run).toSorted()).toEqual(["fan[0].one:1", "fan[1].two:1"]);
  });
});

test("a loop calls the tool of its body once in each round, with a key of its own", async () => {
  await define(
    "rounds",
    {
      id: "again",
      name: "Again",
      type: "loop",
      loop_count: 3,
      loop_step_ids: ["one", "n"],
      output_key: "all",
    },
    tool("one"),
    { id: "n", name: "n", type: "transform", transform_code: "result = index * 2", output_key: "n" },
  );
  const run = await api.start("rounds");
  expect(await untilEnd(api, run)).toBe("completed");
  expect(callsOf(run)).toEqual(["again[0].one:1", "again[1].one:1", "again[2].one:1"]);
  expect(await resultOf(run)).toMatchObject({
    final_state: {
      one: ["one", "one", "one"],
      n: [0, 2, 4],
      all: { one: ["one", "one", "one"], n: [0, 2, 4] },
    },
  });
});

describe("the demo orchestrations", () => {
  const demo = async (id: string, message: string): Promise<JsonObject> => {
    const file = new URL(`../../local/demo/definitions/orchestrations/${id}.json`, import.meta.url);
    const saved = await api.call("PUT", `/api/v2/orchestrations/${id}`, {
      body: JSON.parse(await readFile(file, "utf8")),
    });
    expect(await bodyOf(saved)).toMatchObject({ warnings: [] });
    const run = await api.start(id, { message });
    expect(await untilEnd(api, run)).toBe("completed");
    return Object((await resultOf(run))["final_state"]);
  };

  test("research in parallel, merge the notes, and review the draft twice", async () => {
    const state = await demo("orch_parallel_research", "tea");
    for (const source of ["Facts (facts)", "Figures (figures)", "Views (views)"]) {
      expect(state["research_notes"]).toContain(`[${source}]`);
    }
    expect([state["notes"], state["review"], state["draft"]].map((list) => Object(list).length)).toEqual([
      3, 2, 2,
    ]);
    expect(state["response"]).toBe(Object(state["draft"])[1]);
  });

  test("go through the topics of a message", async () => {
    const { topics, descriptions, response } = await demo("orch_for_each", "tea, coffee, water, milk");
    expect(topics).toEqual(["tea", "coffee", "water", "milk"]);
    expect(Object(descriptions)).toHaveLength(4);
    for (const topic of ["tea", "coffee", "water", "milk"]) expect(response).toContain(`${topic}: `);
  });

  // Needs the test before it, which saves the orchestration that `orch_nested` runs.
  test("introduce what another orchestration has written", async () => {
    const texts = z.object({ descriptions: z.string(), introduction: z.string(), response: z.string() });
    const { descriptions, introduction, response } = texts.parse(await demo("orch_nested", "tea, coffee"));
    expect(descriptions).toContain("tea: ");
    expect(response).toBe(`${introduction}\n\n${descriptions}`);
  });
});

// Fails when the fold loses a branch, or a committed branch is repeated. The last test: it kills the worker.
test("a worker that is killed between its branches is replaced, and each branch goes on where it was", async () => {
  await define(
    "killed",
    fanout([["one", "three"], ["two"], ["ask"]]),
    tool("one"),
    tool("three"),
    tool("two"),
    human("ask"),
  );
  hold("two");
  hold("three");
  const run = await api.start("killed");
  await until("both branches are in a call", () => callsOf(run).length === 3);
  await until("the person is asked", async () => (await count(api, run, "human_input_required")) === 1);
  const [first] = api.workers;
  await api.startWorker("b", { EGRESS_ALLOW: "127.0.0.1" });
  await first?.stop("SIGKILL");
  await until("the next worker calls both again", () => callsOf(run).length === 5);
  release("two");
  release("three");
  await api.until(run, ["paused"]);
  expect((await resume(run)).status).toBe(202);
  expect(await untilEnd(api, run)).toBe("completed");
  expect(callsOf(run).toSorted()).toEqual([
    "fan[0].one:1",
    "fan[0].three:1",
    "fan[0].three:1",
    "fan[1].two:1",
    "fan[1].two:1",
  ]);
  const keys = calls.filter(({ key, path }) => key.startsWith(run) && path === "two").map(({ key }) => key);
  expect(new Set(keys).size).toBe(1);
  expect(await resultOf(run)).toMatchObject({
    attempt: 3,
    final_state: { one: "one", two: "two", three: "three" },
  });
  expect(await count(api, run, "human_input_required")).toBe(1);
});
