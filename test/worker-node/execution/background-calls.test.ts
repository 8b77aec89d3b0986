/** How a run uses the answers that a provider makes in the background: docs/protocol.md 5.31. The provider is played by the models. */
import { beforeEach, expect, test } from "vitest";
import { z } from "zod";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import { addDeltas } from "../../../shared/events/delta-text.ts";
import type { ModelAnswer, ModelRequest } from "../../../worker-node/engine/ports.ts";
import { RetryableError } from "../../../worker-node/engine/step-errors.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { ResponseGone } from "../../../worker-node/models/background-call.ts";
import { ExecutionHarness, llm, steps, usage } from "./execution-harness.ts";

type Play = (request: ModelRequest) => Promise<ModelAnswer>;

let harness: ExecutionHarness;
let plays: Play[];
beforeEach(() => {
  harness = new ExecutionHarness();
  plays = [];
  prepare(harness);
});

function prepare(target: ExecutionHarness): void {
  target.definition = steps({ id: "a", ...llm, background: true, retry: { attempts: 3, base_seconds: 0 } });
  target.models = {
    generate: (request) => {
      const play = plays.shift();
      if (play === undefined) throw new Error("one call too many");
      return play(request);
    },
  };
}

const begin =
  (id: string, then: Play): Play =>
  (request) => {
    request.background?.onBegun(id);
    request.onUsage?.(usage);
    return then(request);
  };
const answer =
  (text: string): Play =>
  async (request) => {
    request.onText(text);
    return { text, tool_calls: [], usage };
  };
const fail =
  (error: Error): Play =>
  () =>
    Promise.reject(error);
const untilStopped: Play = ({ signal, onText }) => {
  onText("Half a ");
  const { promise, reject } = Promise.withResolvers<never>();
  signal.addEventListener("abort", () => reject(signal.reason));
  return promise;
};

const attached = () => harness.calls.map(({ background }) => background?.attachTo);
const usageOf = (executor: ExecutionHarness, run: { run_id: Parameters<typeof executor.store.row>[0] }) =>
  executor.store.entriesOf(run.run_id).flatMap((entry): readonly Usage[] => entry.usage);

/** A run whose worker was drained in the middle of an answer, and the next worker. */
async function drained() {
  plays.push(begin("resp_1", untilStopped));
  const { run, ending } = harness.begin();
  await expect.poll(() => harness.calls.length).toBe(1);
  await expect.poll(() => harness.eventsOf(run)).toContain("Half a ");
  harness.stop.abort(new Stop("drain", "the worker ends"));
  expect(await ending).toEqual({ is: "stopped" });
  const charged = usageOf(harness, run);
  const next = new ExecutionHarness(harness.store);
  prepare(next);
  next.cutText = harness.eventsOf(run);
  const { event_seq, signals } = next.store.row(run.run_id);
  return {
    run,
    charged,
    next,
    resume: (changes: object = {}) => next.resume({ ...run, event_seq, signals, ...changes }),
  };
}

const Event = z.looseObject({ type: z.string(), text: z.string().optional(), first: z.boolean().optional() });
const eventsOf = (executor: ExecutionHarness, run: Parameters<typeof executor.eventsOf>[0]) =>
  executor
    .eventsOf(run)
    .split("\n")
    .map((line) => Event.parse(JSON.parse(line)));

// Fails when the id is not committed before the run is handed back, or when both workers charge the response.
test("a drain leaves the response to the next worker, which asks for it, goes on with its text and charges it", async () => {
  const { run, charged, next, resume } = await drained();
  expect(charged).toEqual([]);
  plays.push(answer("Half a loaf."));
  expect(await resume().ending).toEqual({ is: "ended" });
  expect(next.calls.map(({ background }) => background?.attachTo)).toEqual(["resp_1"]);
  expect(usageOf(next, run)).toHaveLength(1);
  expect(addDeltas(eventsOf(next, run)).get("a")).toBe("Half a loaf.");
  expect(eventsOf(next, run).filter(({ first }) => first)).toHaveLength(1);
  next.checkEntries();
});

test("an answer that begins with another text replaces the published one for viewers", async () => {
  const { run, next, resume } = await drained();
  plays.push(answer("Another one."));
  await resume().ending;
  expect(addDeltas(eventsOf(next, run)).get("a")).toBe("Another one.");
});

// Fails when a paid answer is not used, or is charged at the price of the cheaper model.
test.each(["fail", "pause", "downgrade"] as const)(
  "a response that was begun is fetched and charged although a budget with at_limit %s has reached its limit",
  async (at_limit) => {
    const { run, next, resume } = await drained();
    next.reserveInBudgets = async () => ({
      outcome: "refused",
      budget_id: "marketing",
      version: 3,
      at_limit,
      downgrade_model: at_limit === "downgrade" ? "demo/cheap" : null,
      limit_micro_usd: 1_000_000,
      spent_micro_usd: 999_999,
      rolls_in_ms: 3_600_000,
    });
    plays.push(answer("Half a loaf."));
    expect(await resume({ has_budget: true }).ending).toEqual({ is: "ended" });
    expect(next.calls.map(({ model, background }) => [model, background?.attachTo])).toEqual([
      [llm.model, "resp_1"],
    ]);
    expect(usageOf(next, run)).toHaveLength(1);
  },
);

// Fails when a drained answer that the provider has forgotten is not charged, or is joined with the new one.
test("a response that the provider has forgotten becomes a new call, and its published text is charged as wasted", async () => {
  const { run, next, resume } = await drained();
  // The call commits that the response is gone. That is a checkpoint of the step, after which Postgres returns no text of a cut call.
  const forgotten: Play = (request) => {
    request.background?.onEnded();
    next.cutText = "";
    return Promise.reject(new ResponseGone("demo/fast", { cause: null }));
  };
  plays.push(forgotten, begin("resp_2", answer("New.")));
  await resume().ending;
  expect(next.calls.map(({ background }) => background?.attachTo)).toEqual(["resp_1", null]);
  const events = eventsOf(next, run);
  expect(events.map(({ type }) => type)).toContain("llm_restart");
  expect(addDeltas(events).get("a")).toBe("New.");
  expect(usageOf(next, run).map(({ wasted }) => wasted === true)).toEqual([true, false]);
});

// Fails when the next try gets the answer that made the try before fail, and pays for it again.
test("a response that has failed, and is charged, is not asked for again", async () => {
  plays.push(begin("resp_1", fail(new RetryableError("model_cut", "cut"))), begin("resp_2", answer("Fine.")));
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(attached()).toEqual([null, null]);
  expect(usageOf(harness, run)).toHaveLength(2);
});

test("a provider that was not reached for the response is asked for the same one again", async () => {
  const unreached: Play = (request) => {
    request.onUsage?.(null);
    return Promise.reject(new RetryableError("model_unreachable", "no connection"));
  };
  const { run, next, resume } = await drained();
  plays.push(unreached, answer("Half a loaf."));
  await resume().ending;
  expect(next.calls.map(({ background }) => background?.attachTo)).toEqual(["resp_1", "resp_1"]);
  expect(usageOf(next, run)).toHaveLength(1);
});

test("a step without `background` makes its calls over a connection", async () => {
  harness.definition = steps({ id: "a", ...llm });
  plays.push(answer("Fine."));
  await harness.begin().ending;
  expect(attached()).toEqual([undefined]);
});
