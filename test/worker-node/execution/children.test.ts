import { once } from "node:events";
import { createServer } from "node:http";
import type { Server } from "node:http";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import type { RunId } from "../../../shared/contracts/ids.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { ToolCall } from "../../../worker-node/engine/ports.ts";
import type { ClaimedRun } from "../../../shared/store/runs/claim-runs.ts";
import { edgeStateStore } from "../../../worker-node/clients/http-state.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { childRunId } from "../../../worker-node/execution/start-child.ts";
import { notifyFamily } from "../../simulation/family-model.ts";
import { ExecutionHarness, llm, print, steps, usage } from "./execution-harness.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  harness.readWaits = async (...args) => harness.store.model.readWaits(...args);
  harness.definition = steps(
    { id: "a", ...nested, output_key: "found", next_step_id: "b" },
    { id: "b", ...print },
  );
});
afterEach(() => harness.checkEntries());

const nested = { type: "orchestration", orchestration_id: "child" };
const childrenOf = (run: ClaimedRun) =>
  [...harness.store.model.tables.runs.values()].filter((row) => row.parent_run_id === run.run_id);
const entriesOf = (run: ClaimedRun) =>
  harness.store.entriesOf(run.run_id).filter(({ kind }) => kind !== "note");

/** Ends a child as its worker would. */
function end(child: RunId, status: EndRecord["status"] = "completed", response = "two owls"): void {
  const row = harness.store.row(child);
  Object.assign(row, { status, owner: null, wake_at: null, ended_at: Date.now() });
  const error = status === "failed" ? { code: "x", message: "broken", step_id: null } : null;
  notifyFamily(
    harness.store.model,
    row,
    JSON.stringify({ status, checkpoint: null, response, error } satisfies EndRecord),
  );
}

/** Another worker claims the run, and executes it from its journal. */
function beginAgain(run: ClaimedRun, changes: Partial<ClaimedRun> = {}) {
  const row = harness.store.row(run.run_id);
  const attempt = row.attempt + 1;
  Object.assign(row, { status: "running", attempt, owner: harness.owner, paused_at: null });
  const { event_seq, signals } = row;
  return harness.resume({ ...run, attempt, event_seq, signals, ...changes });
}

describe("a run that starts a child", () => {
  test("parks without a slot until the child has ended, and goes on with the child's response", async () => {
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    const [child] = childrenOf(run);
    expect(child).toMatchObject({ status: "queued", orchestration_id: "child", parent_wait_id: "a:1" });
    expect(entriesOf(run)).toMatchObject([
      {
        kind: "park",
        status: "paused",
        waits: [{ wait_id: "a:1", kind: "child", child_run_id: child?.run_id }],
      },
    ]);
    expect(harness.notified).toEqual([child?.run_id]);
    end(childRunId(run.run_id, "a:1"));
    expect(harness.store.row(run.run_id).status).toBe("queued");
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(entriesOf(run)[1]?.output).toContain('"found":"two owls"');
    expect(childrenOf(run)).toHaveLength(1);
  });

  // Fails when the id of the child does not follow from the place that starts it: each crash would start another child.
  test("starts no second child after its worker died before the park", async () => {
    harness.store.linkFaults.push({ is: "held", until: new Promise(() => {}) });
    const { run } = harness.begin();
    await expect.poll(() => childrenOf(run).length).toBe(1);
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked" });
    expect(childrenOf(run)).toHaveLength(1);
  });

  // Fails when the wait is read before the signals, or the park does not carry them: the run would wait for ever. A beat may
  // have reported the signal to the worker after the worker had read the wait.
  test.each([[false], [true]])(
    "goes on when the child ends before the park (a beat has reported it: %s)",
    async (isReported) => {
      // At this moment the child's start is committed, and its parent has not parked yet.
      harness.onNotified = (child) => {
        end(child);
        if (isReported) runLog.signals = harness.store.row(run.run_id).signals;
      };
      const { run, runLog, ending } = harness.begin();
      expect(await ending).toEqual({ is: "ended" });
      expect(harness.store.row(run.run_id).status).toBe("completed");
      expect(childrenOf(run)).toHaveLength(1);
    },
  );

  // Fails when a full queue fails the step, uses up a try, or counts the waiting run as queued.
  test("waits for room without a slot, a try or a place in the queue, and says why", async () => {
    harness.definition = steps({ id: "a", ...nested, retry: { attempts: 1 } });
    const why = "the tenant has 5 runs queued, which is its limit";
    harness.admit = async () => ({ is: "wait", afterMs: 6_000, why });
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 6_000 });
    expect(childrenOf(run)).toEqual([]);
    expect(JSON.parse(entriesOf(run)[0]?.output ?? "")).toMatchObject({
      reason: "room",
      orchestration_id: "child",
      why,
    });
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked", status: "paused" });
    harness.admit = async () => ({ is: "admitted", quotaCheckedBy: "queue" });
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked" });
    expect(childrenOf(run)).toHaveLength(1);
  });

  test("gives the child what is left of its money and of its time", async () => {
    const text = { id: "a", ...llm, output_key: "text", next_step_id: "b" };
    harness.definition = { ...steps(text, { id: "b", ...nested }), max_total_cost_usd: 0.001 };
    const { run, ending } = harness.begin({ running_for_ms: 29 * 60_000 });
    expect(await ending).toMatchObject({ is: "parked" });
    const [child] = childrenOf(run);
    expect(child?.cost_limit_micro_usd).toBe(1_000 - usage.cost_micro_usd);
    expect(child?.time_limit_ms).toBeGreaterThan(0);
    expect(child?.time_limit_ms).toBeLessThanOrEqual(60_000);
  });

  // Fails when the cost is counted twice, or when an estimate of the child counts as a report.
  test("includes the cost of the child in its own, once", async () => {
    const { run, ending } = harness.begin();
    await ending;
    const child = childRunId(run.run_id, "a:1");
    harness.store.model.tables.usage.push({
      ...usage,
      call: "1",
      run_id: child,
      seq: 1,
      estimated: true,
    });
    end(child);
    await beginAgain(run).ending;
    const { tokens, cost_micro_usd } = harness.store.row(run.run_id);
    expect({ tokens, cost_micro_usd }).toEqual({ tokens: 2, cost_micro_usd: usage.cost_micro_usd });
    expect(harness.store.model.tables.usage.filter(({ run_id }) => run_id === run.run_id)).toMatchObject([
      { provider: "child_run", model: child, estimated: true },
    ]);
  });

  // Fails when the tokens of many calls are charged as they are: Postgres would never take the result of the step.
  test("charges at most as many tokens of the child as one row holds", async () => {
    const { run, ending } = harness.begin();
    await ending;
    const child = childRunId(run.run_id, "a:1");
    for (const call of ["1", "2"]) {
      const tokens = { input_tokens: 2_000_000_000, output_tokens: 1 };
      harness.store.model.tables.usage.push({ ...usage, ...tokens, call, run_id: child, seq: 1 });
    }
    end(child);
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    const charged = harness.store.model.tables.usage.filter(({ run_id }) => run_id === run.run_id);
    expect(charged).toMatchObject([{ input_tokens: 2 ** 31 - 1, output_tokens: 2 }]);
  });

  test("whose wait has timed out cancels the child, fails, and is charged what the child has used", async () => {
    harness.definition = steps({ id: "a", ...nested, timeout_seconds: 1 });
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 1_000 });
    const child = childRunId(run.run_id, "a:1");
    harness.store.model.tables.usage.push({ ...usage, call: "1", run_id: child, seq: 1 });
    for (const wait of harness.store.model.tables.waits) wait.deadline_at = 0;
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain("child_timeout");
    const charged = harness.store.model.tables.usage.filter(({ run_id }) => run_id === run.run_id);
    const { input_tokens, output_tokens, cost_micro_usd } = usage;
    expect(charged).toMatchObject([{ provider: "child_run", input_tokens, output_tokens, cost_micro_usd }]);
    expect(childrenOf(run)).toMatchObject([{ cancel_requested_at: expect.any(Number) }]);
    expect(harness.notified).toEqual([childrenOf(run)[0]?.run_id, childrenOf(run)[0]?.run_id]);
  });

  test.each([
    ["unknown_orchestration", { orchestration_id: "nothing" }, {}],
    ["child_depth", {}, { depth: 8 }],
    ["child_input_too_large", { input_keys: ["user_input"] }, { input: "x".repeat(1_100_000) }],
  ])("fails with %s, and starts nothing", async (code, fields, changes) => {
    harness.definition = steps({ id: "a", ...nested, ...fields });
    const { input, depth } = { input: "hello", depth: 0, ...changes };
    const { run, ending } = harness.begin({ input: JSON.stringify({ message: input, state: {} }) });
    harness.store.row(run.run_id).depth = depth;
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain(code);
    expect(childrenOf(run)).toEqual([]);
    // No reservation is left to lapse.
    expect(harness.givenBack).toHaveLength(code === "child_input_too_large" ? 0 : 1);
  });
});

describe("a run in a branch", () => {
  const fork = (branches: string[][], ...otherSteps: JsonObject[]) =>
    steps({ id: "a", type: "parallel", parallel_branches: branches, output_key: "all" }, ...otherSteps);

  // Fails when a child in one branch keeps the slot, or stops the other branch.
  test("parks that branch alone, and the run when no branch can move", async () => {
    harness.definition = fork(
      [["one"], ["two", "three"]],
      { id: "one", ...nested, output_key: "one" },
      {
        id: "two",
        ...llm,
        output_key: "two",
        next_step_id: "three",
      },
      { id: "three", ...nested, output_key: "three" },
    );
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    expect(harness.calls).toHaveLength(1);
    const ids = ["a[0].one:1", "a[1].three:1"].map((wait) => childRunId(run.run_id, wait));
    expect(
      childrenOf(run)
        .map(({ run_id }) => run_id)
        .toSorted(),
    ).toEqual(ids.toSorted());
    const [firstChild, thirdChild] = ids;
    if (thirdChild) end(thirdChild, "completed", "3");
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked", status: "paused" });
    if (firstChild) end(firstChild, "completed", "1");
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(harness.eventsOf(run)).toContain('"one":"1"');
    expect(harness.eventsOf(run)).toContain('"three":"3"');
    expect(harness.calls).toHaveLength(1);
  });

  // Fails when the rest of a failed branch is left to the end of the run: persons would answer a question that nothing reads, and
  // the child would spend money for a response that nothing takes.
  test("is cancelled when another step of its branch fails, and the questions of that branch are closed", async () => {
    const human = { type: "human", human_prompt: "Which?" };
    const parallel = { type: "parallel", on_branch_error: "collect" };
    harness.definition = steps(
      { id: "a", ...parallel, parallel_branches: [["b"], ["other", "later"]] },
      { id: "b", type: "parallel", parallel_branches: [["kid"], ["ask"], ["bad"]] },
      { id: "kid", ...nested },
      { id: "ask", ...human },
      { id: "bad", ...nested },
      { id: "other", ...nested },
      { id: "later", ...human },
    );
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    const idOf = (wait: string) => childRunId(run.run_id, wait);
    end(idOf("a[0].b[2].bad:1"), "failed");
    harness.notified.length = 0;
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked", status: "paused" });
    const open = childrenOf(run).filter(({ cancel_requested_at: at, ended_at }) => (at ?? ended_at) === null);
    expect(open.map(({ run_id }) => run_id)).toEqual([idOf("a[1].other:1")]);
    expect(harness.notified).toEqual([idOf("a[0].b[0].kid:1")]);
    const asked = harness.store.model.tables.waitsOf(run.run_id).filter(({ kind }) => kind === "human");
    expect(asked).toMatchObject([{ wait_id: "a[0].b[1].ask:1", answered_by: "branch" }]);
  });

  // Fails when a wait for room names the signals before it: every park would be refused, and sent again at once.
  test("waits for room also when a signal for another branch has come meanwhile", async () => {
    harness.definition = fork([["one"], ["two"]], { id: "one", ...nested }, { id: "two", ...llm });
    harness.admit = async () => ({ is: "wait", afterMs: 3_600_000, why: "the queue is full" });
    const { run, ending } = harness.begin();
    harness.generate = async () => {
      await expect.poll(() => entriesOf(run).map(({ kind }) => kind)).toContain("park");
      harness.store.row(run.run_id).signals += 1;
      return "done";
    };
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    expect(childrenOf(run)).toEqual([]);
  });
});

describe("an agent that starts two runs in one answer", () => {
  const spawn = (id: string) => ({
    id,
    name: "spawn_run",
    args: { orchestration_id: "child", message: `work of ${id}` },
  });

  // Fails when the second wait is not stored because a park of the first one is: `why` would not show it, and its deadline be lost.
  test("waits for both, also when there was no room for one of them at first, and asks its model once", async () => {
    harness.named.set("helper", {
      id: "helper",
      name: "H",
      tools: ["spawn_run"],
      orchestration_ids: ["child"],
    });
    harness.definition = steps({ id: "a", type: "agent", agent_id: "helper", output_key: "text" });
    harness.models = {
      generate: async ({ messages }) => {
        const isFirst = messages.at(-1)?.role !== "tool";
        return {
          text: isFirst ? "" : "done",
          tool_calls: isFirst ? [spawn("one"), spawn("two")] : [],
          usage,
        };
      },
    };
    const second = "a:1:tool.1.2";
    harness.admit = async ({ run: child }) =>
      child === childRunId(run.run_id, second)
        ? { is: "wait", afterMs: 5_000, why: "full" }
        : { is: "admitted", quotaCheckedBy: "queue" };
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "parked", status: "paused", delayMs: 5_000 });
    harness.admit = async () => ({ is: "admitted", quotaCheckedBy: "queue" });
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked", status: "paused" });
    const names = ["a:1:tool.1.1", second];
    expect(harness.store.model.tables.waitsOf(run.run_id).map(({ wait_id }) => wait_id)).toEqual(names);
    for (const name of names) {
      end(childRunId(run.run_id, name), "completed", `result of ${name}`);
      await beginAgain(run).ending;
    }
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(harness.calls).toHaveLength(2);
    expect(JSON.stringify(harness.calls[1]?.messages)).toMatch(
      /result of a:1:tool.1.1.*result of a:1:tool.1.2/,
    );
    expect(childrenOf(run)).toHaveLength(2);
  });
});

describe("a run that one of two delegates of an agent has started", () => {
  // Fails when only runs of a step that has parked are cancelled: this step fails in the execution that has started the run.
  test("is cancelled when the other delegate fails the step, and the run goes on without its branch", async () => {
    const named = (id: string, fields: object) => harness.named.set(id, { id, name: id, ...fields });
    named("lead", { system_prompt: "lead", delegate_agent_ids: ["spawner", "broken"] });
    named("spawner", { system_prompt: "spawner", tools: ["spawn_run"], orchestration_ids: ["child"] });
    named("broken", { system_prompt: "broken" });
    const task = (agent_id: string) => ({
      id: agent_id,
      name: "delegate_to_agent",
      args: { agent_id, task: "go" },
    });
    const calls: Record<string, ToolCall[]> = {
      lead: [task("spawner"), task("broken")],
      spawner: [{ id: "1", name: "spawn_run", args: { orchestration_id: "child", message: "go" } }],
    };
    harness.models = {
      generate: async ({ messages }) => {
        const agent = String(messages[0]?.content);
        if (agent === "broken") throw new TerminalError("model_refused", "the model refuses");
        return { text: "", tool_calls: calls[agent] ?? [], usage };
      },
    };
    harness.definition = steps(
      { id: "a", type: "parallel", on_branch_error: "collect", parallel_branches: [["b"], ["c"]] },
      { id: "b", type: "agent", agent_id: "lead" },
      { id: "c", ...nested },
    );
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked", status: "paused" });
    const spawned = childRunId(run.run_id, "a[0].b:1:tool.1.1.tool.1.1");
    const cancelled = childrenOf(run).filter(({ cancel_requested_at }) => cancel_requested_at !== null);
    expect(childrenOf(run)).toHaveLength(2);
    expect(cancelled.map(({ run_id }) => run_id)).toEqual([spawned]);
  });
});

// Fails when the worker asks again until the edge is deployed: the run would keep its slot for so long.
test("a branch fails also behind an edge of an earlier version, which does not know how to end what it left open", async () => {
  const edge: Server = createServer((_request, response) => response.writeHead(404).end("{}"));
  await once(edge.listen(0, "127.0.0.1"), "listening");
  const address = edge.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const { abandonTrack } = edgeStateStore(`http://127.0.0.1:${address.port}`, "secret");
  harness.store.store.abandonTrack = abandonTrack;
  harness.definition = steps(
    { id: "a", type: "parallel", on_branch_error: "collect", parallel_branches: [["b"], ["c"]] },
    { id: "b", type: "orchestration", orchestration_id: "nothing" },
    { id: "c", ...print },
  );
  expect(await harness.begin().ending).toEqual({ is: "ended" });
  edge.close();
});

describe("an agent in a branch that waits for a run while another branch moves", () => {
  // Fails when the turns of this execution are forgotten with the wait: its answers would be asked and paid for once more.
  test("goes on after its committed answers, and is asked for each of them once", async () => {
    harness.named.set("helper", {
      id: "helper",
      name: "H",
      tools: ["spawn_run"],
      orchestration_ids: ["child"],
    });
    harness.definition = steps(
      { id: "a", type: "parallel", parallel_branches: [["agent"], ["other"]], output_key: "all" },
      { id: "agent", type: "agent", agent_id: "helper", output_key: "text" },
      { id: "other", ...llm, output_key: "other" },
    );
    const other = Promise.withResolvers<void>();
    harness.models = {
      generate: async ({ messages, effectKey }) => {
        if (effectKey.includes(".other:")) await other.promise;
        const spawns = effectKey.includes(".agent:") && messages.at(-1)?.role !== "tool";
        const args = { orchestration_id: "child", message: "work" };
        return {
          text: spawns ? "" : "done",
          tool_calls: spawns ? [{ id: "one", name: "spawn_run", args }] : [],
          usage,
        };
      },
    };
    const { run, runLog, ending } = harness.begin();
    await expect.poll(() => harness.kindsOf(run)).toContain("park");
    end(childRunId(run.run_id, "a[0].agent:1:tool.1.1"));
    runLog.signals = harness.store.row(run.run_id).signals;
    await expect.poll(() => harness.calls.length).toBeGreaterThan(2);
    other.resolve();
    expect(await ending).toEqual({ is: "ended" });
    const keys = harness.calls.map(({ effectKey }) => effectKey);
    expect(keys.toSorted()).toEqual([
      `${run.run_id}:a[0].agent:1:model.1`,
      `${run.run_id}:a[0].agent:1:model.2`,
      `${run.run_id}:a[1].other:1:model.1`,
    ]);
    expect(harness.store.row(run.run_id)).toMatchObject({ status: "completed", cost_micro_usd: 3 });
  });
});

describe("the model calls of a failed try, when the next one waits for a run", () => {
  const spawn = { id: "one", name: "spawn_run", args: { orchestration_id: "child", message: "work" } };
  const usageOf = (run: ClaimedRun) =>
    harness.store
      .entriesOf(run.run_id)
      .flatMap((entry) => entry.usage)
      .map(({ call, cost_micro_usd }) => `${call} ${cost_micro_usd}`)
      .toSorted();

  beforeEach(() => {
    harness.named.set("helper", {
      id: "helper",
      name: "H",
      tools: ["spawn_run"],
      orchestration_ids: ["child"],
    });
    const agent = { id: "a", type: "agent", agent_id: "helper", output_key: "text" };
    harness.definition = steps({ ...agent, retry: { attempts: 3, base_seconds: 0 } });
    harness.models = {
      generate: async ({ messages, onUsage }) => {
        const isFirst = harness.calls.length === 1;
        const price = { ...usage, cost_micro_usd: isFirst ? 100 : 1 };
        onUsage?.(price);
        if (isFirst) throw new RetryableError("model_cut", "cut");
        const isDone = messages.at(-1)?.role === "tool";
        return { text: isDone ? "done" : "", tool_calls: isDone ? [] : [spawn], usage: price };
      },
    };
  });

  // Fails when the charges are in the park alone: a park that is refused, because the run has ended meanwhile, would lose them.
  test("are charged once, also when that run ends before the park", async () => {
    harness.onNotified = (child) => end(child, "completed");
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(usageOf(run)).toEqual([
      `child.${childRunId(run.run_id, "a:1:tool.1.1")} 0`,
      "model.1 1",
      "model.2 1",
      "try.1.1 100",
    ]);
    expect(harness.store.row(run.run_id)).toMatchObject({ status: "completed", cost_micro_usd: 102 });
  });

  test("are charged once, also when a cancel comes before the park", async () => {
    const { run, ending } = harness.begin();
    harness.onNotified = () => {
      const row = harness.store.row(run.run_id);
      row.signals += 1;
      row.cancel_requested_at = Date.now();
    };
    expect(await ending).toEqual({ is: "ended" });
    expect(usageOf(run)).toEqual(["model.1 1", "try.1.1 100"]);
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
  });

  // Fails when the tries begin anew after the wait: a step that fails between its waits would be tried for ever.
  test.each(["before the park", "after it"])("count as tries when that run ends %s", async (when) => {
    const failing = (): never => {
      throw new RetryableError("busy", "come back later", { answered: true });
    };
    const generate = harness.models?.generate;
    harness.models = {
      generate: async (request) =>
        request.messages.at(-1)?.role === "tool" ? failing() : (generate?.(request) ?? failing()),
    };
    if (when === "before the park") harness.onNotified = (child) => end(child, "completed");
    const { run, ending } = harness.begin();
    if (when === "after it") {
      expect(await ending).toMatchObject({ is: "parked" });
      end(childRunId(run.run_id, "a:1:tool.1.1"), "completed");
      await beginAgain(run).ending;
    } else await ending;
    expect(harness.store.row(run.run_id).status).toBe("failed");
    // One failed before the wait, two after it; the refused one gets another key.
    expect(harness.calls.map(({ effectKey }) => effectKey.split(":").slice(3).join(":"))).toEqual([
      "model.1",
      "model.1",
      "model.2",
      "model.2:1",
    ]);
  });

  // Fails when the limit of the run forgets them with the park.
  test("count against the limit of the run after the wait", async () => {
    harness.definition = { ...harness.definition, max_total_cost_usd: 0.000_103 };
    const { run, ending } = harness.begin();
    expect(await ending).toMatchObject({ is: "parked" });
    const child = childRunId(run.run_id, "a:1:tool.1.1");
    const used = { ...usage, cost_micro_usd: 5, call: "1", run_id: child, seq: 1 };
    harness.store.model.tables.usage.push(used);
    end(child);
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain("max_total_cost");
    expect(harness.calls).toHaveLength(2);
  });
});

describe("a retry by a client", () => {
  const rewind = (run: ClaimedRun) => {
    const row = harness.store.row(run.run_id);
    row.event_seq += 1;
    harness.store.model.tables.write({
      run_id: run.run_id,
      seq: row.event_seq,
      events_n: 1,
      attempt: row.attempt,
      kind: "rewind",
      step_path: null,
      visit: null,
      output: JSON.stringify({ keep_seq: row.event_seq - 1 }),
      events: '{"type":"run_retried","from_step_id":null}',
    });
  };

  test("starts a failed child anew under another id, and keeps a completed child", async () => {
    const { run, ending } = harness.begin();
    await ending;
    end(childRunId(run.run_id, "a:1"), "failed");
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain("child_failed");
    rewind(run);
    Object.assign(harness.store.row(run.run_id), { ended_at: null, wake_at: 0 });
    expect(await beginAgain(run).ending).toMatchObject({ is: "parked" });
    expect(childrenOf(run).map(({ parent_wait_id }) => parent_wait_id)).toEqual(["a:1", "a:1:r1"]);
    end(childRunId(run.run_id, "a:1:r1"));
    rewind(run);
    expect(await beginAgain(run).ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(childrenOf(run)).toHaveLength(2);
  });
});

describe("a child", () => {
  test("spends no more than its parent had left", async () => {
    harness.definition = steps(
      { id: "a", ...llm, output_key: "text", next_step_id: "b" },
      { id: "b", ...llm, output_key: "more" },
    );
    const { run, ending } = harness.begin({ cost_limit_micro_usd: usage.cost_micro_usd });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain("max_total_cost");
    expect(harness.calls).toHaveLength(1);
  });

  test("has no more time than its parent had left", async () => {
    const { run, ending } = harness.begin({ time_limit_ms: 60_000, running_for_ms: 60_000 });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.errorOf(run)).toContain("run_timeout");
  });
});
