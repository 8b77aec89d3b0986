/** Steps without effects do not wait for Postgres; what reaches outside waits for all results before it. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { Stop } from "../../../worker-node/execution/stop.ts";
import { POISON } from "../fake-store.ts";
import { ExecutionHarness, llm, print, steps } from "./execution-harness.ts";

/** Steps `a`, `b`, `c` … in a row. */
function inARow(...list: JsonObject[]): JsonObject {
  const idOf = (i: number) => String.fromCodePoint(97 + i);
  return steps(
    ...list.map((step, i) => ({
      id: idOf(i),
      ...step,
      ...(i + 1 < list.length && { next_step_id: idOf(i + 1) }),
    })),
  );
}

/** The results that are committed, as `step:visit`. */
const resultsOf = (harness: ExecutionHarness, run: Parameters<ExecutionHarness["kindsOf"]>[0]): string[] =>
  harness.store
    .entriesOf(run.run_id)
    .flatMap(({ kind, step_path, visit }) => (kind === "step" ? [`${step_path}:${visit}`] : []));

describe("steps without effects", () => {
  // Fails when each of them waits for the commit of the one before it.
  test("are committed in one statement with the end of the run, each as an entry of its own", async () => {
    const harness = new ExecutionHarness();
    harness.definition = inARow(print, print, print, print, print);
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.batches).toEqual([1]);
    expect(harness.kindsOf(run)).toEqual(["step", "step", "step", "step", "end"]);
    expect(resultsOf(harness, run)).toEqual(["a:1", "b:1", "c:1", "d:1"]);
    const row = harness.store.row(run.run_id);
    const entries = harness.store.model.tables.entriesOf(run.run_id);
    // Each entry begins after the event with which the one before it ends.
    let seq = 0;
    for (const entry of entries) expect(entry.seq).toBe((seq += entry.events_n));
    expect(row).toMatchObject({ status: "completed", step_count: 5, event_seq: seq });
    harness.checkEntries();
  });

  // Fails when a long row of them is kept in memory until its end: a crash would repeat all of it.
  test("are committed as the run goes on when they are many", async () => {
    const harness = new ExecutionHarness();
    const idOf = (i: number) => (i === 0 ? "a" : `s${i}`);
    harness.definition = steps(
      ...Array.from({ length: 90 }, (_, i) => ({
        id: idOf(i),
        ...print,
        ...(i < 89 && { next_step_id: idOf(i + 1) }),
      })),
    );
    const { run, ending } = harness.begin();
    await ending;
    expect(resultsOf(harness, run)).toHaveLength(89);
    // At most 32 results wait for their commit.
    expect(harness.store.batches.length).toBeGreaterThanOrEqual(3);
    harness.checkEntries();
  });
});

// Fails when the code of a step goes on after its run was cancelled.
test("a cancel stops the code of a step without effects", async () => {
  const harness = new ExecutionHarness();
  harness.definition = inARow(print, { type: "transform", transform_code: "result = 1" }, print);
  const signals: AbortSignal[] = [];
  const forever = (): Promise<never> => {
    harness.stop.abort(new Stop("cancel", "the run was cancelled"));
    return new Promise(() => {});
  };
  harness.sandbox = {
    of: ({ signal }) => {
      signals.push(signal);
      return { evaluate: forever, transform: forever };
    },
  };
  const { run, ending } = harness.begin();
  expect(await ending).toEqual({ is: "ended" });
  expect(harness.store.row(run.run_id).status).toBe("cancelled");
  expect(signals.map(({ aborted }) => aborted)).toEqual([true]);
});

describe("a step that reaches outside", () => {
  // Fails when it begins while a result that it depends on can still be lost.
  test("begins when all results before it are committed", async () => {
    const harness = new ExecutionHarness();
    harness.definition = inARow(print, print, llm, print, print, llm);
    const committed: string[][] = [];
    const begun = Promise.withResolvers<typeof run>();
    harness.generate = async () => {
      committed.push(resultsOf(harness, await begun.promise));
      return "answer";
    };
    const { run, ending } = harness.begin();
    begun.resolve(run);
    await ending;
    expect(committed).toEqual([
      ["a:1", "b:1"],
      ["a:1", "b:1", "c:1", "d:1", "e:1"],
    ]);
    // The results of `a` and `b`, then that of the model, then those that follow it, then the end.
    expect(harness.store.batches.length).toBeLessThanOrEqual(4);
  });

  test("does not begin in a run that another worker moves", async () => {
    const harness = new ExecutionHarness();
    harness.definition = inARow(print, print, llm);
    const { run, ending } = harness.begin();
    harness.store.row(run.run_id).attempt += 1;
    expect(await ending).toEqual({ is: "dropped" });
    expect(harness.calls).toEqual([]);
    expect(harness.store.entriesOf(run.run_id)).toEqual([]);
  });
});

// Fails when the results after a rejected one are committed, or when the run ends as if it had all of them.
test("a result that Postgres will never accept fails the run with what came before it", async () => {
  const harness = new ExecutionHarness();
  const poisoned = { type: "print", print_content: JSON.parse(POISON), output_key: "text" };
  harness.definition = inARow(print, poisoned, print, print);
  const { run, ending } = harness.begin();
  await ending;
  expect(resultsOf(harness, run)).toEqual(["a:1"]);
  expect(harness.store.row(run.run_id).status).toBe("failed");
  expect(JSON.parse(harness.errorOf(run) ?? "{}")).toMatchObject({ code: "result_rejected", step_id: "b" });
});

// Fails when a worker that stops drops the result of a call that was made: the next worker would make it again.
test("a run that a draining worker hands back has the results of all its calls", async () => {
  const harness = new ExecutionHarness();
  const stopped = Promise.withResolvers<void>();
  harness.definition = inARow(llm, { type: "transform", transform_code: "result = 1" });
  harness.transform = async () => {
    harness.stop.abort(new Stop("drain", "the worker is shutting down"));
    stopped.resolve();
    return 1;
  };
  harness.store.linkFaults.push({ is: "slow", ms: 50 });
  const { run, ending } = harness.begin();
  await stopped.promise;
  expect(await ending).toEqual({ is: "stopped" });
  expect(resultsOf(harness, run)).toContain("a:1");
});
