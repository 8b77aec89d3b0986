/** Executes one run whose steps call a provider on a local port, and collects its outcome. */
import { afterAll, beforeAll } from "vitest";
import { z } from "zod";
import { EndRecord } from "../../../shared/contracts/journal-entry.ts";
import { recordOf } from "../../../shared/journal/records.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { addDeltas } from "../../../shared/events/delta-text.ts";
import { ExecutionHarness } from "../execution/execution-harness.ts";
import { ProviderServer, retry } from "./provider-server.ts";
import type { Answer } from "./provider-server.ts";

const TextEvent = z.object({
  type: z.string(),
  orch_step_id: z.string().optional(),
  text: z.string().optional(),
  first: z.boolean().optional(),
});

const Thought = z.object({ thought: z.string() });
const StepRetry = z.object({ code: z.string(), retry_in_seconds: z.number() });

export const llm1 = { type: "llm", prompt_template: "go", output_key: "out", retry };
export const ag1 = { type: "agent", agent_id: "worker", prompt_template: "go", output_key: "out", retry };
export const evaluator = {
  type: "evaluator",
  evaluator_prompt: "Good?",
  route_map: { yes: "yes", no: "no" },
  retry,
};

const branches = [
  { id: "yes", type: "print", print_content: "went-a" },
  { id: "no", type: "print", print_content: "went-b" },
];

export type RunResult = {
  status: string;
  response: unknown;
  code: string | undefined;
  message: string;
  tokens: number;
  costMicroUsd: number;
  /** Whether some of its charges, and so its result, are marked as estimated. */
  isEstimated: boolean;
  isResultEstimated: boolean;
  /** Codes of `step_retry` events, in order. */
  retries: string[];
  /** The waits that these events announce, in seconds. */
  waits: number[];
  /** The step's text as a viewer joins it, while the run goes on and at its end. */
  text: string | undefined;
  /** The texts beside calls of an agent's answers. */
  thoughts: string[];
  /** Arguments of tool calls, in order. */
  toolCalls: unknown[];
};

/** The provider of a test file: its server, which runs as long as the file's tests, and `run` for one llm step. */
export function aProvider(): {
  server: ProviderServer;
  run(this: void, model: string, ...script: Answer[]): Promise<RunResult>;
} {
  const server = new ProviderServer();
  beforeAll(() => server.start());
  afterAll(() => server.stop());
  return { server, run: (model, ...script) => runStep(server, { ...llm1, model }, script) };
}

/** Runs one step to its end against the answers of `script`. `fields`: further ones of the definition. `lookup`: the tool's answer. */
export async function runStep(
  server: ProviderServer,
  step: JsonObject,
  script: Answer[],
  fields: JsonObject = {},
  lookup: () => Promise<Json> = async () => ({ answer: "ok" }),
): Promise<RunResult> {
  server.reset(...script);
  const harness = new ExecutionHarness();
  const toolCalls: unknown[] = [];
  const models = server.models();
  harness.models = models;
  harness.defaultModel = models.defaultModelFor;
  harness.named.set("worker", { id: "worker", name: "worker", system_prompt: "work", tools: ["lookup"] });
  harness.named.set("lookup", {
    name: "lookup",
    tool_type: "http",
    method: "POST",
    url: "https://example.com/",
    inputSchema: { type: "object", properties: { q: { type: "string" } } },
  });
  harness.callTool = async ({ args }) => {
    toolCalls.push(args);
    return lookup();
  };
  const steps = [{ id: "a", ...step }, ...(step["type"] === "evaluator" ? branches : [])];
  harness.definition = { id: "orch", name: "Orch", entry_step_id: "a", steps, ...fields };
  const { run, ending } = harness.begin();
  await ending;
  harness.checkEntries();
  const entries = harness.store.entriesOf(run.run_id);
  const row = harness.store.row(run.run_id);
  const last = entries.at(-1);
  const record = last === undefined ? null : recordOf(last);
  const end = record?.kind === "end" ? EndRecord.parse(record.record) : null;
  const lines = entries.flatMap((entry) => entry.events.split("\n"));
  const retried = lines
    .filter((line) => line.includes('"step_retry"'))
    .map((line) => StepRetry.parse(JSON.parse(line)));
  return {
    status: row.status,
    response: end?.response,
    code: end?.error?.code,
    message: end?.error?.message ?? "",
    tokens: row.tokens,
    costMicroUsd: row.cost_micro_usd,
    isEstimated: entries.some(({ usage }) => usage.some((call) => call.estimated)),
    isResultEstimated: end?.checkpoint?.estimated ?? false,
    retries: retried.map(({ code }) => code),
    waits: retried.map(({ retry_in_seconds }) => retry_in_seconds),
    text: addDeltas(lines.map((line) => TextEvent.parse(JSON.parse(line)))).get("a"),
    thoughts: lines
      .filter((line) => line.includes('"llm_thought"'))
      .map((line) => Thought.parse(JSON.parse(line)).thought),
    toolCalls,
  };
}
