/** Executes a case as workers do: from its beginning, or from any point at which its journal may have been left. */
import { z } from "zod";
import { RunId } from "../../../shared/contracts/ids.ts";
import type { EndRecord, StoredEntry } from "../../../shared/contracts/journal-entry.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { recordOf } from "../../../shared/journal/records.ts";
import type { Wait } from "../../../shared/store/runs/waits.ts";
import type { SharedSandbox } from "../../../worker-node/engine/sandbox.ts";
import { TerminalError, ToolRejection } from "../../../worker-node/engine/step-errors.ts";
import type { ModelAnswer } from "../../../worker-node/engine/ports.ts";
import { ExecutionHarness, steps, usage } from "../execution/execution-harness.ts";
import { Failed } from "./case.ts";
import type { Answer, Case } from "./case.ts";

export type Outcome = {
  state: JsonObject;
  events: string[];
  error: { code: string; message: string } | null;
  checkpoints: number;
  /** The calls that this execution made, as effect keys without the run's id. */
  calls: string[];
  /** The last message of a person or a step that each call of a model has, by the name of the call. */
  prompts: { [call: string]: string };
  journal: StoredEntry[];
};

type Made = Pick<Outcome, "calls" | "prompts">;

const Refusal = z.looseObject({ refuses: z.string() });
const Silent = z.looseObject({ silent: z.literal(true) });
const Line = z.looseObject({ type: z.string() });
const Failure = z.object({ code: z.string(), message: z.string() }).nullable();
/** The most executions of a case: one for each question and each retry. More are a defect. */
const MAX_EXECUTIONS = 10;

/**
 * Executes the run of a case, with another worker after each pause.
 * @param before what earlier workers have committed
 */
export async function runCase(
  stepCase: Case,
  sandbox: SharedSandbox,
  before: StoredEntry[] = [],
): Promise<Outcome> {
  const made: Made = { calls: [], prompts: {} };
  let journal = before;
  for (let execution = 1; execution <= MAX_EXECUTIONS; execution++) {
    const harness = harnessOf(stepCase, sandbox, journal, made);
    const seq = journal.at(-1)?.seq ?? 0;
    const { run, ending } = harness.begin(inputOf(stepCase, seq), journal);
    const ended = await ending;
    harness.checkEntries();
    journal = harness.store.model.tables
      .entriesOf(run.run_id)
      .map(({ seq: at, kind, output, events }) => ({ seq: at, kind, output, events }));
    if (ended.is === "ended") return { ...endOf(stepCase, journal), ...made, journal };
    if (ended.is !== "parked") throw new Error(`the execution ${ended.is}`);
  }
  throw new Error(`the run has not ended after ${MAX_EXECUTIONS} executions`);
}

function inputOf({ message = "hello", state = {} }: Case, seq: number) {
  const input = JSON.stringify({ message, state });
  return seq === 0 ? { input } : { input, attempt: 1, event_seq: seq };
}

function harnessOf(
  stepCase: Case,
  sandbox: SharedSandbox,
  journal: readonly StoredEntry[],
  { calls, prompts }: Made,
): ExecutionHarness {
  const harness = new ExecutionHarness();
  const schema = Object.keys(stepCase.state ?? {}).map((key) => [key, { type: "any" }]);
  harness.definition = { ...steps(...stepCase.steps), state_schema: Object.fromEntries(schema) };
  harness.sandbox = sandbox;
  for (const [id, agent] of Object.entries(stepCase.agents ?? {}))
    harness.named.set(id, { id, name: id, ...agent });
  for (const name of Object.keys(stepCase.tools ?? {}))
    harness.named.set(name, toolOf(name, stepCase.parallel?.includes(name) ?? false));
  harness.models = {
    generate: async ({ effectKey, messages }) => {
      const key = withoutRun(effectKey);
      calls.push(key);
      prompts[key] = messages.findLast(({ role }) => role === "user")?.content ?? "";
      return modelAnswer(answerFor(stepCase, key), key);
    },
  };
  harness.callTool = async ({ tool: { name }, effectKey }) => {
    calls.push(withoutRun(effectKey));
    const answer = stepCase.tools?.[typeof name === "string" ? name : ""] ?? null;
    const refused = Refusal.safeParse(answer);
    if (refused.success) throw new ToolRejection(refused.data.refuses);
    return answer;
  };
  harness.readWaits = async (_run, ids) =>
    ids.map((id) => waitOf(stepCase, id, journal)).filter((wait) => wait !== null);
  return harness;
}

const toolOf = (name: string, parallel: boolean): JsonObject => ({
  name,
  parallel,
  tool_type: "http",
  description: "",
  url: "https://tools.example.com/",
  inputSchema: { type: "object", properties: { query: { type: "string" } } },
});

/** `run:path:visit:call`, without the run, which is another one in each execution. */
const withoutRun = (effectKey: string): string => effectKey.split(":").slice(1).join(":");

function answerFor(stepCase: Case, key: string): Answer {
  const [, path = "", visit = "", task, n = ""] =
    /^(.*?):(\d+):(?:(tool\..*)\.)?model\.(\d+)/.exec(key) ?? [];
  const ofVisit = visit === "1" ? path : `${path}#${visit}`;
  const name = task === undefined ? ofVisit : `${ofVisit}/${task}`;
  const answer = stepCase.model?.[name]?.[Number(n) - 1];
  if (answer === undefined)
    throw new TerminalError("not_scripted", `${key} is called, and the case has no answer`);
  return answer;
}

function modelAnswer(answer: Answer, key: string): ModelAnswer {
  if (typeof answer === "string") return { text: answer, tool_calls: [], usage };
  if ("fails" in answer) throw new TerminalError(answer.fails, "the model has failed");
  const tool_calls = answer.calls.map((call, i) => ({ id: `${key}.${i}`, ...call }));
  return { text: "", tool_calls, usage };
}

/** A wait that the journal has opened, as it ended: a question is answered or expired, a timer is over, a child has ended. */
function waitOf(stepCase: Case, wait_id: string, journal: readonly StoredEntry[]): Wait | null {
  const isAsked = journal.some(
    ({ kind, output }) => kind === "park" && output?.includes(`"wait_id":"${wait_id}"`),
  );
  if (!isAsked) return null;
  const path = wait_id.replace(/:1(:tool\..*)?$/, "");
  const response = stepCase.children?.[path];
  if (response !== undefined) return endedChild(wait_id, response);
  const isTimer = stepCase.steps.some(({ id, type }) => id === path && type === "wait");
  const answer = isTimer ? { silent: true } : (stepCase.persons?.[path] ?? null);
  const isSilent = Silent.safeParse(answer).success;
  return {
    wait_id,
    kind: isTimer ? "timer" : "human",
    child_run_id: null,
    state: isSilent ? "expired" : "answered",
    due_in_ms: 0,
    open_for_ms: 1,
    answer: isSilent ? null : JSON.stringify(answer),
    answered_by: isSilent ? null : "key_1",
  };
}

const CHILD = RunId.parse("run_2483e1773407_1780499750067");

function endedChild(wait_id: string, response: Json | { fails: string }): Wait {
  const failed = Failed.safeParse(response);
  const end: EndRecord = failed.success
    ? {
        status: "failed",
        checkpoint: null,
        response: null,
        error: { code: failed.data.fails, message: "the child has failed", step_id: null },
      }
    : { status: "completed", checkpoint: null, response, error: null };
  return {
    wait_id,
    kind: "child",
    child_run_id: CHILD,
    state: "answered",
    due_in_ms: null,
    open_for_ms: 1,
    answer: JSON.stringify(end),
    answered_by: CHILD,
    child_usage: { input_tokens: 1, output_tokens: 1, cost_micro_usd: 1, estimated: false },
  };
}

function endOf(stepCase: Case, journal: readonly StoredEntry[]): Omit<Outcome, keyof Made | "journal"> {
  const lines = journal.flatMap(({ events }) =>
    (events ?? "").split("\n").map((line) => Line.parse(JSON.parse(line))),
  );
  const final = lines.findLast(({ type }) => type === "orchestration_complete")?.["final_state"];
  const requestKeys = new Set(["user_input", "user_query", ...Object.keys(stepCase.state ?? {})]);
  const state = Object.entries(z.record(z.string(), z.json()).parse(final)).filter(
    ([key]) => !requestKeys.has(key),
  );
  const last = z.looseObject({ error: Failure.optional() }).parse(JSON.parse(journal.at(-1)?.output ?? "{}"));
  return {
    state: Object.fromEntries(state),
    events: lines.flatMap((line) => (isOfStep(line) ? [line.type] : [])),
    checkpoints: journal.filter(({ kind }) => kind === "step" || kind === "turn" || kind === "end").length,
    error: last.error ? { code: last.error.code, message: last.error.message } : null,
  };
}

/** Without deltas: how many there are depends on the time between them. */
const isOfStep = (line: { [field: string]: unknown; type: string }): boolean =>
  "orch_step_id" in line && line.type !== "llm_delta";

/** The numbers of the branches and iterations in the path of a call. */
const placeOf = (call: string): string[] => Array.from(call.matchAll(/\[(\d+)\]/g), ([, n]) => n ?? "");

/**
 * The calls whose outcomes a journal holds: none of them may be made again. A visit that has failed for good names no effects, so
 * they are those that it made in `calls`.
 */
export function committedCalls(journal: readonly StoredEntry[], calls: readonly string[]): string[] {
  const Turn = z.looseObject({ effects: z.array(z.string()).default([]) });
  return journal.flatMap((entry) => {
    const found = recordOf(entry);
    if (found.kind === "step") {
      const { step, visit, error, effects } = found.record;
      const place = (found.record.track ?? []).join();
      const ofVisit = (call: string): boolean =>
        `.${call}`.includes(`.${step}:${visit}:`) && placeOf(call).join() === place;
      return error === undefined ? effects.map(withoutRun) : calls.filter(ofVisit);
    }
    if (found.kind !== "turn" || found.record.data === null) return [];
    return Turn.parse(found.record.data).effects.map(withoutRun);
  });
}
