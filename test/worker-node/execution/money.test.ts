/** Limits on money, and the charges of calls without a result: docs/protocol.md 5.10. */
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import type { CallToReserve, Reservation } from "../../../shared/store/money/reserve.ts";
import type { ModelAnswer, ModelRequest } from "../../../worker-node/engine/ports.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { Prices } from "../../../worker-node/models/prices.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { silentPeer } from "../../services/waiting.ts";
import { ExecutionHarness, llm, steps, usage } from "./execution-harness.ts";

let harness: ExecutionHarness;
/** The reservations that the run has asked for, and the replies to them, in order; after these each call is reserved. */
let reservations: CallToReserve[];
let replies: Reservation[];
let released: string[];
beforeEach(() => {
  harness = new ExecutionHarness();
  [reservations, replies, released] = [[], [], []];
  harness.reserveInBudgets = async (call) => {
    reservations.push(call);
    return replies.shift() ?? { outcome: "reserved" };
  };
  harness.releaseReservation = async ({ call }) => {
    released.push(call);
    return null;
  };
  harness.definition = steps({ id: "a", ...llm, output_key: "text" });
});
afterEach(() => harness.checkEntries());

type Begun = ReturnType<ExecutionHarness["begin"]>["run"];
const usageOf = (run: Begun): Usage[] => harness.store.entriesOf(run.run_id).flatMap((entry) => entry.usage);
const errorOf = (run: Begun): JsonObject => JSON.parse(harness.errorOf(run) ?? "{}");
const refused = (at_limit: "fail" | "pause" | "downgrade", model: string | null = null): Reservation => ({
  outcome: "refused",
  budget_id: "marketing",
  version: 3,
  at_limit,
  downgrade_model: model,
  limit_micro_usd: 1_000_000,
  spent_micro_usd: 999_000,
  rolls_in_ms: 3_600_000,
});

describe("under a budget", () => {
  test("the worst case of a call is reserved before it, and its charge names the reservation", async () => {
    const { run, ending } = harness.begin({ has_budget: true });
    expect(await ending).toEqual({ is: "ended" });
    // 4,096 tokens of output at 2 micro-dollars, and the prompt.
    expect(reservations).toMatchObject([{ run_id: run.run_id, attempt: 1, wait_id: null }]);
    expect(reservations[0]?.cost).toBeGreaterThan(8_192);
    expect(reservations[0]?.cost).toBeLessThan(8_500);
    expect(usageOf(run)).toEqual([{ call: "model.1", ...usage, reserved: reservations[0]?.call }]);
    expect(harness.calls).toMatchObject([{ mustHavePrice: true }]);
  });

  // Fails when a run without a budget costs an additional statement.
  test("the calls of a run without one are not reserved", async () => {
    const { run, ending } = harness.begin();
    await ending;
    expect(reservations).toEqual([]);
    expect(usageOf(run)).toEqual([{ call: "model.1", ...usage }]);
  });

  // Fails when the operator's bound on answers lowers what is reserved and not what is written.
  test("a call requests at most the output tokens of the operator's price, and reserves their cost", async () => {
    const price = { model: "demo/fast", input_usd_per_million: 1, output_usd_per_million: 2 };
    harness.prices = new Prices(
      async () => [
        { ...price, cached_input_usd_per_million: null, max_output_tokens: 100, long_prompt: null },
      ],
      () => "demo/fast",
    );
    const { ending } = harness.begin({ has_budget: true });
    await ending;
    expect(harness.calls).toMatchObject([{ maxOutputTokens: 100 }]);
    expect(reservations[0]?.cost).toBeLessThan(100 * 2 + 300);
  });

  test("a call waits while others have reserved what is left, and is then made", async () => {
    replies = [{ outcome: "busy" }, { outcome: "busy" }];
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(reservations).toHaveLength(3);
    expect(new Set(reservations.map(({ call }) => call)).size).toBe(3);
  });

  // Fails when a reservation is kept although the provider refused the call, or is given back although the call cost money.
  test("a call that used nothing gives its reservation back; a failed call that used something charges it", async () => {
    harness.definition = steps({ id: "a", ...llm, retry: { attempts: 3, base_seconds: 0 } });
    let n = 0;
    harness.models = {
      generate: async ({ onUsage }): Promise<ModelAnswer> => {
        n += 1;
        onUsage?.(usage);
        if (n === 1) onUsage?.(null);
        if (n < 3) throw new RetryableError("model_cut", "cut");
        return { text: "answer", tool_calls: [], usage };
      },
    };
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    const [first, second, third] = reservations.map(({ call }) => call);
    expect(released).toEqual([first]);
    expect(usageOf(run)).toEqual([
      { call: "try.2.1", ...usage, reserved: second },
      { call: "model.1", ...usage, reserved: third },
    ]);
  });

  test("with `fail`, a call that does not fit is not made, and the error names the budget and what is spent", async () => {
    replies = [refused("fail")];
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    expect(harness.calls).toEqual([]);
    expect(errorOf(run)).toMatchObject({ code: "budget_exceeded", step_id: "a" });
    expect(errorOf(run)["message"]).toContain('budget "marketing" has no room');
    expect(errorOf(run)["message"]).toContain("0.999 of 1 USD");
  });

  test("with `downgrade`, the call uses the cheaper model, and an event names the budget and the model", async () => {
    harness.definition = steps({ id: "a", ...llm, model: "openai/gpt-4.1", output_key: "text" });
    replies = [refused("downgrade", "openai/gpt-4.1-nano")];
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    expect(harness.calls).toMatchObject([{ model: "openai/gpt-4.1-nano" }]);
    expect(reservations[1]?.cost).toBeLessThan(reservations[0]?.cost ?? 0);
    expect(harness.eventsOf(run)).toContain(
      '"budget_id":"marketing","message":"budget \\"marketing\\" has no room for the model call',
    );
    expect(harness.eventsOf(run)).toContain('"model":"openai/gpt-4.1-nano","action":"downgrade"');
  });

  // Fails when a cheaper model may spend what the budget does not have.
  test("with `downgrade`, a call that does not fit with the cheaper model either fails", async () => {
    replies = [refused("downgrade", "demo/fast"), refused("downgrade", "demo/fast")];
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    expect(harness.calls).toEqual([]);
    expect(errorOf(run)).toMatchObject({ code: "budget_exceeded" });
  });

  // Fails when a budget that is passed by an estimate's error, or was lowered, refuses a model that costs nothing.
  test("a call that costs nothing fits into every budget, also as the cheaper model of a call that did not fit", async () => {
    harness.definition = steps({ id: "a", ...llm, model: "openai/gpt-4.1", output_key: "text" });
    replies = [refused("downgrade", "ollama/llama3"), refused("downgrade", "ollama/llama3")];
    const { run, ending } = harness.begin({ has_budget: true });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
    expect(harness.calls).toMatchObject([{ model: "ollama/llama3" }]);
    expect(reservations).toHaveLength(1);
  });

  test("with `pause`, the run parks until the next period, with a wait that names budget and version", async () => {
    replies = [refused("pause")];
    const { run, ending } = harness.begin({ has_budget: true });
    expect(await ending).toMatchObject({ is: "parked", status: "paused", delayMs: 3_600_000 });
    const park = harness.store.entriesOf(run.run_id).at(-1);
    expect(park).toMatchObject({ kind: "park", status: "paused", step_path: "a", usage: [] });
    expect(park?.waits).toMatchObject([
      { kind: "budget", step_id: "a", fields: '{"budget_id":"marketing","version":3}', deadline_ms: null },
    ]);
    expect(park?.events).toContain('"type":"budget_reached"');
    expect(park?.events).toContain('"type":"paused"');
  });

  // Fails when a pause forgets the tries before it, charges them twice or not at all, or counts as a try.
  test("a run that has waited goes on with its tries, and closes its wait", async () => {
    harness.definition = steps({ id: "a", ...llm, retry: { attempts: 2, base_seconds: 0 } });
    harness.models = {
      generate: ({ onUsage }) => {
        onUsage?.(usage);
        return Promise.reject(new RetryableError("model_cut", "cut"));
      },
    };
    replies = [{ outcome: "reserved" }, refused("pause")];
    const { run, ending } = harness.begin({ has_budget: true });
    expect(await ending).toMatchObject({ is: "parked" });
    expect(usageOf(run)).toMatchObject([{ call: "try.1.1" }]);
    const journal = harness.store.entriesOf(run.run_id).map((entry, i) => ({ ...entry, seq: i + 1 }));
    const waitId = harness.store.entriesOf(run.run_id).at(-1)?.waits[0]?.wait_id;

    const next = new ExecutionHarness();
    next.definition = harness.definition;
    next.models = harness.models;
    next.reserveInBudgets = harness.reserveInBudgets;
    const secondExecution = next.begin({ has_budget: true, event_seq: journal.length }, journal);
    await secondExecution.ending;
    expect(reservations.at(-1)).toMatchObject({ wait_id: waitId });
    // The second and last try.
    expect(next.store.entriesOf(secondExecution.run.run_id).at(-1)?.dead_letter).toMatchObject({
      code: "model_cut",
      tries: 2,
    });
  });

  // Fails when the worker misses a raise while the refusal is under way: the run would wait for the next period.
  test("a raise between the refusal and the park lets the run go on at once", async () => {
    const { run, runLog, ending } = harness.begin({ has_budget: true });
    harness.reserveInBudgets = async (call) => {
      reservations.push(call);
      if (reservations.length > 1) return { outcome: "reserved" };
      harness.store.row(run.run_id).signals += 1;
      return refused("pause");
    };
    expect(await ending).toEqual({ is: "ended" });
    expect([harness.store.row(run.run_id).status, runLog.signals]).toEqual(["completed", 1]);
  });

  test("a branch that waits does not stop the others, and a raise of the budget moves it", async () => {
    harness.definition = steps(
      { id: "a", type: "parallel", parallel_branches: [["x"], ["y"]] },
      { id: "x", ...llm, output_key: "x" },
      { id: "y", ...llm, output_key: "y" },
    );
    const others = Promise.withResolvers<string>();
    harness.generate = async ({ effectKey }) => (effectKey.includes(".y:") ? others.promise : "late");
    harness.reserveInBudgets = async (call) => {
      reservations.push(call);
      const isFirstOfX = reservations.filter((each) => each.call.includes(".x:")).length === 1;
      return call.call.includes(".x:") && isFirstOfX ? refused("pause") : { outcome: "reserved" };
    };
    const { run, runLog, ending } = harness.begin({ has_budget: true });
    await expect.poll(() => harness.kindsOf(run)).toContain("park");
    expect(harness.store.row(run.run_id).status).toBe("running");
    harness.store.row(run.run_id).signals += 1;
    runLog.signals += 1;
    await expect.poll(() => harness.calls.length).toBe(2);
    others.resolve("text");
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("completed");
  });

  // Fails when the run begins, spends, and fails at the step that nothing can pay.
  test("a run whose step names a model without a price does not begin", async () => {
    const vendor = { id: "b", ...llm, model: "openai-compatible/vendor-x" };
    harness.definition = steps({ id: "a", ...llm, next_step_id: "b" }, vendor);
    const { run, ending } = harness.begin({ has_budget: true });
    await ending;
    expect(errorOf(run)).toMatchObject({ code: "model_without_price", step_id: "b" });
    expect(errorOf(run)["message"]).toContain("openai-compatible/vendor-x");
    expect(harness.calls).toEqual([]);
  });

  // Fails when the operator's default model is priced, and that of the tenant called.
  test("a step that names no model has the price of its tenant's default model", async () => {
    harness.definition = steps({ id: "a", ...llm, model: null });
    harness.defaultModel = async (tenant) => `openai-compatible/of-${tenant}`;
    const begun = harness.begin({ has_budget: true });
    await begun.ending;
    expect(errorOf(begun.run)).toMatchObject({ code: "model_without_price", step_id: "a" });
    expect(errorOf(begun.run)["message"]).toContain("openai-compatible/of-acme");
    await harness.begin().ending;
    expect(harness.calls.map(({ model }) => model)).toEqual(["openai-compatible/of-acme"]);
  });
});

// Fails when branches that call at the same time each see the whole rest of the run's limit.
test("the limit of a run is passed by one call at most, however many branches call at once", async () => {
  const branches = Array.from({ length: 8 }, (_, i) => `s${i}`);
  harness.definition = {
    ...steps(
      {
        id: "a",
        type: "parallel",
        parallel_branches: branches.map((id) => [id]),
        on_branch_error: "collect",
      },
      ...branches.map((id) => ({ id, ...llm, output_key: id })),
    ),
    max_total_cost_usd: 0.02,
  };
  let open = 0;
  let mostOpen = 0;
  harness.models = {
    generate: async (): Promise<ModelAnswer> => {
      mostOpen = Math.max(mostOpen, ++open);
      await new Promise(setImmediate);
      open -= 1;
      return { text: "text", tool_calls: [], usage: { ...usage, cost_micro_usd: 8_000 } };
    },
  };
  const { run, ending } = harness.begin();
  await ending;
  // The worst case of a call is about 8,200: two fit into the limit at the same time. A third begins when it is alone, and is the last.
  expect([mostOpen, harness.calls.length]).toEqual([2, 3]);
  expect(harness.store.row(run.run_id).cost_micro_usd).toBe(24_000);
});

describe("what a model call has used is charged as wasted", () => {
  /** A model call that has used tokens and does not end. */
  function hang(): Promise<void> {
    const begun = Promise.withResolvers<void>();
    harness.models = {
      generate: ({ onUsage, signal }: ModelRequest) => {
        onUsage?.(usage);
        begun.resolve();
        return silentPeer(signal);
      },
    };
    return begun.promise;
  }
  const wasted = { call: "try.1.1", ...usage, wasted: true };

  test("when a cancel cuts it off", async () => {
    const begun = hang();
    const { run, ending } = harness.begin();
    await begun;
    harness.stop.abort(new Stop("cancel", "the run was cancelled"));
    expect(await ending).toEqual({ is: "ended" });
    expect(usageOf(run)).toEqual([wasted]);
    expect(harness.store.row(run.run_id)).toMatchObject({ status: "cancelled", cost_micro_usd: 1 });
  });

  test("when the worker drains", async () => {
    const begun = hang();
    const { run, ending } = harness.begin();
    await begun;
    harness.stop.abort(new Stop("drain", "the worker is shutting down"));
    expect(await ending).toEqual({ is: "stopped" });
    expect(usageOf(run)).toEqual([wasted]);
  });

  test.each([
    ["the step's time passes", { timeout_seconds: 1, retry: { attempts: 1 } }, {}, "step_timeout"],
    ["the run's time passes", {}, { timeout_minutes: 0.002 }, "run_timeout"],
  ])("when %s", async (_, step, definition, code) => {
    void hang();
    harness.definition = { ...steps({ id: "a", ...llm, ...step }), ...definition };
    const { run, ending } = harness.begin();
    await ending;
    expect([errorOf(run)["code"], usageOf(run)]).toEqual([code, [wasted]]);
  });

  test("when another branch fails and its own is stopped", async () => {
    harness.definition = steps(
      { id: "a", type: "parallel", parallel_branches: [["x"], ["y"]] },
      { id: "x", ...llm },
      { id: "y", ...llm, retry: { attempts: 1 } },
    );
    const begun = Promise.withResolvers<void>();
    harness.models = {
      generate: async ({ effectKey, onUsage, signal }) => {
        onUsage?.(usage);
        if (effectKey.includes(".x:")) {
          begun.resolve();
          return silentPeer(signal);
        }
        await begun.promise;
        throw new TerminalError("broken", "y is broken");
      },
    };
    const { run, ending } = harness.begin();
    await ending;
    const byCall = Object.fromEntries(usageOf(run).map((call) => [call.call, call.wasted]));
    expect(byCall).toEqual({ "a[0].x:try.1.1": true, "a[1].y:try.1.1": undefined });
  });

  // Fails when a drain loses the cost of the call that it cuts off, so that the next worker's total is too low.
  test("and stays in the cost of the run when another worker goes on", async () => {
    const begun = hang();
    const { run, ending } = harness.begin();
    await begun;
    harness.stop.abort(new Stop("drain", "the worker is shutting down"));
    await ending;
    const journal = harness.store.entriesOf(run.run_id).map((entry, i) => ({ ...entry, seq: i + 1 }));
    const next = new ExecutionHarness();
    next.definition = harness.definition;
    const secondExecution = next.begin({ event_seq: journal.length }, journal);
    await secondExecution.ending;
    const end = next.store.entriesOf(secondExecution.run.run_id).at(-1);
    expect(JSON.parse(end?.output ?? "{}").checkpoint).toMatchObject({ cost_micro_usd: 2 });
  });
});

// Fails when nothing charges the failed tries of a visit that is stopped between two tries.
test.each(["cancel", "drain"] as const)(
  "what a failed try has used is charged when a %s comes in the short pause before the next try",
  async (why) => {
    harness.definition = steps({ id: "a", ...llm, retry: { attempts: 2, base_seconds: 4 } });
    const { run, ending } = harness.begin();
    harness.models = {
      generate: async ({ onUsage }) => {
        onUsage?.(usage);
        // The length of the pause is drawn just before it begins.
        const random = vi.spyOn(Math, "random").mockImplementation(() => {
          queueMicrotask(() => harness.stop.abort(new Stop(why, "stopped")));
          return 0.99;
        });
        onTestFinished(() => random.mockRestore());
        throw new RetryableError("model_cut", "cut");
      },
    };
    expect(await ending).toEqual({ is: why === "cancel" ? "ended" : "stopped" });
    expect(usageOf(run)).toEqual([{ call: "try.1.1", ...usage }]);
  },
);

// Fails when a failed try is charged by the park before its retry alone: the cancel lets that park be refused.
test("what a failed try has used is charged also when a cancel comes before the park in which the run waits for its retry", async () => {
  harness.definition = steps({ id: "a", ...llm, retry: { attempts: 2, base_seconds: 60 } });
  // The wait is at random, and a short one is no park.
  const random = vi.spyOn(Math, "random").mockReturnValue(0.5);
  onTestFinished(() => random.mockRestore());
  const { run, ending } = harness.begin();
  harness.models = {
    generate: async ({ onUsage }) => {
      onUsage?.(usage);
      const row = harness.store.row(run.run_id);
      row.signals += 1;
      row.cancel_requested_at = Date.now();
      throw new RetryableError("model_cut", "cut");
    },
  };
  expect(await ending).toEqual({ is: "ended" });
  expect(usageOf(run)).toEqual([{ call: "try.1.1", ...usage }]);
  expect(harness.store.row(run.run_id)).toMatchObject({ status: "cancelled", cost_micro_usd: 1 });
});

// Fails when a failed branch counts with the cost of its last try alone: its turns are paid too.
test.each(["x", "i"])(
  "what the turns of a branch (%s) cost that `collect` lets fail counts against the run's limit",
  async (first) => {
    const agent = { type: "agent", agent_id: "worker", retry: { attempts: 1 } };
    const fork = { type: "parallel", parallel_branches: [[first], ["y"]], concurrency: 1 };
    const inner = { id: "i", type: "parallel", parallel_branches: [["x"], ["z"]] };
    harness.definition = {
      ...steps(
        { id: "a", ...fork, on_branch_error: "collect", next_step_id: "b" },
        ...(first === "i" ? [inner, { id: "z", type: "print", print_content: "z" }] : []),
        { id: "x", ...agent },
        { id: "y", ...agent },
        { id: "b", ...llm },
      ),
      max_total_cost_usd: 0.1,
    };
    harness.named.set("worker", { id: "worker", name: "W", tools: [] });
    harness.models = {
      generate: async ({ messages }) => {
        if (messages.at(-1)?.role === "tool") throw new TerminalError("broken", "x is broken");
        const unknown = { id: "k", name: "no_such_tool", args: {} };
        return { text: "", tool_calls: [unknown], usage: { ...usage, cost_micro_usd: 60_000 } };
      },
    };
    const { run, ending } = harness.begin();
    await ending;
    expect(harness.calls.map(({ effectKey }) => effectKey.replace(/^.*\.(?=[xy]:)/, ""))).toEqual([
      "x:1:model.1",
      "x:1:model.2",
      "y:1:model.1",
    ]);
    expect(harness.store.row(run.run_id).cost_micro_usd).toBe(120_000);
    expect(errorOf(run)["code"]).toBe("max_total_cost");
  },
);

// Fails when a failure that a drain overtakes takes its charges, and those of the branches that it stopped, with it.
test("what branches have used is charged when the worker drains before their failure is committed", async () => {
  harness.definition = steps(
    { id: "a", type: "parallel", parallel_branches: [["p", "x"], ["y"]] },
    { id: "p", ...llm, output_key: "p" },
    { id: "x", ...llm },
    { id: "y", ...llm, retry: { attempts: 1 } },
  );
  const slow = Promise.withResolvers<void>();
  const failing = Promise.withResolvers<void>();
  harness.models = {
    generate: async ({ effectKey, onUsage }) => {
      if (effectKey.includes(".p:")) {
        // Its result is on its way while the other branch fails.
        harness.store.linkFaults.push({ is: "held", until: slow.promise });
        setImmediate(failing.resolve);
        return { text: "p", tool_calls: [], usage };
      }
      onUsage?.(usage);
      await failing.promise;
      throw new TerminalError("broken", "y is broken");
    },
  };
  const { run, ending } = harness.begin();
  await failing.promise;
  await expect.poll(() => harness.calls.length).toBe(2);
  setImmediate(() => {
    harness.stop.abort(new Stop("drain", "the worker is shutting down"));
    slow.resolve();
  });
  expect(await ending).toEqual({ is: "stopped" });
  expect(
    usageOf(run)
      .map(({ call }) => call)
      .toSorted(),
  ).toEqual(["a[1].y:try.1.1", "model.1"]);
  const journal = harness.store.entriesOf(run.run_id).map((entry, i) => ({ ...entry, seq: i + 1 }));
  const next = new ExecutionHarness();
  next.definition = harness.definition;
  const secondExecution = next.begin({ event_seq: journal.length }, journal);
  await secondExecution.ending;
  const end = next.store.entriesOf(secondExecution.run.run_id).at(-1);
  expect(JSON.parse(end?.output ?? "{}")).toMatchObject({ status: "completed" });
});
