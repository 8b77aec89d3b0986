/** Answers of models that are kept for later calls: docs/protocol.md 5.26. */
import { beforeEach, describe, expect, test } from "vitest";
import { TenantId } from "../../../shared/contracts/ids.ts";
import type { Usage } from "../../../shared/contracts/journal-entry.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { RetryableError, TerminalError } from "../../../worker-node/engine/step-errors.ts";
import { ExecutionHarness, llm, steps, usage } from "./execution-harness.ts";

let harness: ExecutionHarness;
beforeEach(() => {
  harness = new ExecutionHarness();
  harness.generate = async () => `answer ${harness.calls.length}`;
});

const cached = { ...llm, cache_responses_enabled: true, output_key: "text" };
const usageOfFast = { ...usage, model: "fast" };

/** Executes the step in a new run, with the answers that earlier runs have kept. */
async function run(step: JsonObject = cached, tenant = "acme") {
  const next = new ExecutionHarness();
  for (const [hash, answer] of harness.kept) next.kept.set(hash, answer);
  const { generate } = harness;
  next.calls.push(...harness.calls);
  harness = next;
  harness.models = {
    generate: async (request) => ({ text: await generate(request), tool_calls: [], usage: usageOfFast }),
  };
  harness.generate = generate;
  harness.definition = steps({ id: "a", ...step });
  const { run: began, ending } = harness.begin({ tenant_id: TenantId.parse(tenant) });
  await ending;
  harness.checkEntries();
  const entries = harness.store.entriesOf(began.run_id);
  return {
    row: harness.store.row(began.run_id),
    usage: entries.flatMap((entry): readonly Usage[] => entry.usage),
    events: harness.eventsOf(began),
    state: entries.at(-1)?.output ?? "",
  };
}

describe("a step with cache_responses_enabled", () => {
  test("takes the answer of an earlier run with the same request: no call is made or paid, as usage and events show", async () => {
    await run();
    const second = await run();
    expect(harness.calls).toHaveLength(1);
    expect(second.row).toMatchObject({ status: "completed", tokens: 0, cost_micro_usd: 0 });
    expect(second.usage).toEqual([
      {
        call: "model.1",
        provider: "demo",
        model: "fast",
        input_tokens: 0,
        output_tokens: 0,
        cost_micro_usd: 0,
        cached: true,
      },
    ]);
    expect(second.events).toContain('"type":"llm_cached","orch_step_id":"a","step_name":"a"');
    expect(second.events).toContain('"text":"answer 1"');
    expect(second.state).toContain('"text":"answer 1"');
  });

  test("is the only kind that keeps answers: a step without it calls its model each time", async () => {
    const { cache_responses_enabled: _, ...plain } = cached;
    await run(plain);
    await run(plain);
    expect(harness.calls).toHaveLength(2);
    expect(harness.kept.size).toBe(0);
  });

  test.each<[string, JsonObject, string]>([
    ["of another tenant", cached, "globex"],
    ["to another prompt", { ...cached, prompt_template: "Write more" }, "acme"],
    ["of another model", { ...cached, model: "demo/slow" }, "acme"],
    ["in another form", { ...cached, output_schema: { type: "string" } }, "acme"],
  ])("never takes an answer %s", async (_what, step, tenant) => {
    await run();
    await run(step, tenant);
    expect(harness.calls.length).toBeGreaterThan(1);
  });

  // Fails when an answer is kept before its step has accepted it.
  test("keeps no answer that failed, was empty, or failed its step", async () => {
    const retry = { attempts: 1 };
    harness.generate = async () => Promise.reject(new TerminalError("output_limit", "cut"));
    await run({ ...cached, retry });
    harness.generate = async () => " ";
    await run({ ...cached, retry });
    harness.generate = async () => "no route";
    const evaluator = { type: "evaluator", evaluator_prompt: "Good?", route_map: { yes: null }, retry };
    expect((await run({ ...evaluator, cache_responses_enabled: true })).row.status).toBe("failed");
    expect(harness.kept.size).toBe(0);
  });

  test("keeps no answer of the cheaper model that a budget put in the place of its own", async () => {
    await run({ ...cached, model: "demo/writer" });
    expect(harness.kept.size).toBe(0);
  });

  test("is called again by the try after a failed one, whatever is kept", async () => {
    await run();
    // The kept answer does not fit what this worker expects of answers.
    for (const hash of harness.kept.keys()) harness.kept.set(hash, '{"text":1}');
    const { row, events } = await run({ ...cached, retry: { attempts: 2, base_seconds: 0 } });
    expect(row.status).toBe("completed");
    expect(events).toContain('"type":"step_retry"');
    expect(harness.calls).toHaveLength(2);
  });

  test("does not fail when the answer cannot be kept", async () => {
    harness.kept.set = () => {
      throw new RetryableError("gone", "the store is away");
    };
    expect((await run()).row.status).toBe("completed");
  });
});
