/** What a run may hold: shared/journal/size-limits.ts. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import { fold } from "../../../shared/journal/fold.ts";
import { storedPages } from "../../shared/journal/stored-pages.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { SqlError } from "../fake-store.ts";
import { ExecutionHarness, llm, print, steps, usage } from "./execution-harness.ts";

const MIB = 1024 * 1024;
let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
});
afterEach(() => harness.checkEntries());

const errorOf = (run: Parameters<ExecutionHarness["errorOf"]>[0]): JsonObject =>
  JSON.parse(harness.errorOf(run) ?? "{}");
/** Two llm steps with answers of 9 MiB. */
const twoLarge = (keys: [string, string]): JsonObject =>
  steps(
    { id: "a", ...llm, output_key: keys[0], next_step_id: "b" },
    { id: "b", ...llm, output_key: keys[1], next_step_id: "c", retry: { attempts: 3 } },
    { id: "c", ...print },
  );

describe("a run's state", () => {
  beforeEach(() => {
    harness.generate = async () => "x".repeat(9 * MIB);
  });

  // Fails when only single values are bounded.
  test("has at most 16 MiB: the step that would write more fails at once, is paid for, and the error says what to do", async () => {
    harness.definition = twoLarge(["one", "two"]);
    const { run, ending } = harness.begin();
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.calls).toHaveLength(2);
    const error = errorOf(run);
    expect(error).toMatchObject({ code: "state_too_large", step_id: "b" });
    for (const part of ['step "b"', "18.1 MiB", "16.0 MiB", "output_key"])
      expect(error["message"]).toContain(part);
    expect(harness.store.entriesOf(run.run_id).flatMap((entry) => entry.usage)).toEqual([
      { call: "model.1", ...usage },
      { call: "model.1", ...usage },
    ]);
    expect(harness.store.entriesOf(run.run_id).at(-1)?.events).toContain('"type":"step_error"');
  });

  // Fails when the bytes of a value that was replaced still count.
  test("may be overwritten any number of times", async () => {
    harness.definition = twoLarge(["one", "one"]);
    const { run, ending } = harness.begin();
    await ending;
    expect(harness.store.row(run.run_id).status).toBe("completed");
  });

  // Fails when a reference counts as its own few bytes: a code step loads the value behind it.
  test("counts values in the object store too", async () => {
    harness.definition = twoLarge(["one", "two"]);
    harness.artifacts = { put: async () => {}, get: async () => "" };
    const { run, ending } = harness.begin();
    await ending;
    expect(errorOf(run)).toMatchObject({ code: "state_too_large", step_id: "b" });
  });

  // Fails when the state that a journal holds is not counted in the next execution.
  test("is counted again when another worker goes on with the run", async () => {
    harness.definition = twoLarge(["one", "two"]);
    const set = { one: "x".repeat(9 * MIB) };
    const { run, ending } = harness.begin({ attempt: 1, event_seq: 3 }, [resultOfA(set)]);
    await ending;
    expect(errorOf(run)).toMatchObject({ code: "state_too_large", step_id: "b" });
  });

  // Fails when a conversation is bounded by the number of its turns alone.
  test("counts with the turns of the current step: both together have at most 16 MiB", async () => {
    harness.named.set("helper", { id: "helper", name: "Helper", tools: ["lookup"] });
    harness.named.set("lookup", {
      id: "lookup",
      name: "lookup",
      tool_type: "http",
      url: "https://h/",
      inputSchema: {},
    });
    harness.definition = steps({
      id: "a",
      type: "agent",
      agent_id: "helper",
      prompt_template: "go",
      max_turns: 15,
    });
    harness.models = {
      generate: async () => ({
        text: "x".repeat(3 * MIB),
        tool_calls: [{ id: "k", name: "lookup", args: {} }],
        usage,
      }),
    };
    harness.callTool = async () => "found";
    const { run, ending } = harness.begin();
    await ending;
    expect(errorOf(run)).toMatchObject({ code: "state_too_large", step_id: "a" });
    expect(errorOf(run)["message"]).toContain('turns of step "a"');
    expect(harness.calls.length).toBeLessThan(8);
  });
});

describe("a run's journal", () => {
  // Fails when events are not counted, or when a run may go on past the limit.
  test("has at most 64 MiB: the run fails after the entry that passes them, and that failure is committed", async () => {
    harness.definition = steps(
      { id: "a", ...print, next_step_id: "b" },
      { id: "b", ...llm, next_step_id: "a" },
    );
    const { run, ending } = harness.begin({ journal_bytes: 64 * MIB - 1_500 });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id)).toMatchObject({ status: "failed", owner: null });
    expect(errorOf(run)["code"]).toBe("state_too_large");
    for (const part of ["64.1 MiB", "64.0 MiB", 'at step "', "loop less"])
      expect(errorOf(run)["message"]).toContain(part);
    expect(harness.store.entriesOf(run.run_id).at(-1)?.dead_letter).toMatchObject({
      code: "state_too_large",
    });
    expect(harness.calls.length).toBeLessThan(4);
  });

  // Fails when a journal is read before the crash count and the size are checked: a journal that killed three workers would
  // kill a fourth.
  test.each([
    ["three workers died over", { crash_count: 3 }, "poison"],
    ["is too large", { journal_bytes: 65 * MIB }, "state_too_large"],
  ])("that %s is not read again: the run fails", async (_, changes, code) => {
    const pages: number[] = [];
    harness.store.store.readStoredPage = async (_run, after) => {
      pages.push(after);
      throw new SqlError("08006");
    };
    const { run, ending } = harness.begin({ attempt: 1, event_seq: 5, ...changes });
    expect(await ending).toEqual({ is: "ended" });
    expect([errorOf(run)["code"], pages]).toEqual([code, []]);
  });

  test("that is too large does not keep a cancelled run from its end", async () => {
    const { run, ending } = harness.begin({ event_seq: 5, journal_bytes: 65 * MIB, cancel: true });
    expect(await ending).toEqual({ is: "ended" });
    expect(harness.store.row(run.run_id).status).toBe("cancelled");
  });

  // Fails when a page that can never be read is read for ever.
  test.each([
    ["Postgres refuses", new SqlError("22021")],
    ["is too long for a text", new RangeError("Invalid string length")],
  ])("of which a page %s fails the run with `unreadable`", async (_, error) => {
    harness.store.store.readStoredPage = () => Promise.reject(error);
    const { run, ending } = harness.begin({ attempt: 1, event_seq: 5 });
    expect(await ending).toEqual({ is: "ended" });
    expect(errorOf(run)["code"]).toBe("unreadable");
  });

  test("with an entry that cannot be parsed fails the run with `unreadable`", async () => {
    const { run, ending } = harness.begin({ attempt: 1, event_seq: 5 }, [
      { seq: 5, kind: "step", output: "{}" },
    ]);
    await ending;
    expect(errorOf(run)["code"]).toBe("unreadable");
  });
});

// Fails when the entry of a result has it in its output and in an event, or when the next worker does not find it.
test("a long result is in its entry once, and in the state of the worker that goes on", async () => {
  harness.definition = twoLarge(["one", "two"]);
  let n = 0;
  harness.generate = async () => `answer ${++n} `.repeat(300);
  const { run, ending } = harness.begin();
  await ending;
  const [first] = harness.store.entriesOf(run.run_id).filter(({ kind }) => kind === "step");
  const text = `${first?.output}${first?.events}`;
  expect(text.split("answer 1 ").length - 1).toBe(300);
  const { state } = await fold({}, storedPages(harness.store.model.tables.entriesOf(run.run_id)));
  expect(state).toEqual({ one: "answer 1 ".repeat(300), two: "answer 2 ".repeat(300) });
});

// Fails when a claim has to return an input however long it is.
test("a long input is read by the execution, and not by the claim", async () => {
  const input = JSON.stringify({ message: "a long message", state: {} });
  harness.definition = steps({ id: "a", type: "print", print_content: "{input}" });
  harness.store.store.readInput = async () => input;
  const { run, ending } = harness.begin({ input: null });
  await ending;
  expect(harness.eventsOf(run)).toContain('"response":"a long message"');
});

function resultOfA(set: JsonObject): StoredEntry {
  const output = JSON.stringify({
    step: "a",
    visit: 1,
    type: "llm",
    name: "a",
    set,
    next: "b",
    output_key: "one",
    started_at: "2026-01-01T00:00:00.000Z",
    duration_ms: 1,
    tries: 1,
    tokens: 0,
    cost_micro_usd: 0,
    effects: [],
  });
  return { seq: 3, kind: "step", output };
}
