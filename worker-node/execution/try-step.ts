import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, TurnCheckpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { usageOfTurn } from "../engine/conversation.ts";
import { costOf, spentOf, toCheckpoint, whenSpent } from "../engine/machine.ts";
import type { ModelAnswer, StepContext, StepResult } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { runStep } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append } from "../journal/run-log.ts";
import { published } from "./divide-text.ts";
import type { ExecutionState, Parked, Walk } from "./execution-state.ts";
import { loadValue } from "./large-values.ts";
import type { LargeValues } from "./large-values.ts";
import { Question } from "./question.ts";
import type { ReadWaits } from "./question.ts";
import { Stop, within, withTimeout } from "./stop.ts";
import { waitForStore } from "./wait-for-store.ts";

/** One visit of a step. `large`: where it stores its large values. */
export type Visit = { state: ExecutionState; walk: Walk; step: Step; visit: number; large: LargeValues };

/** The result of a visit: its checkpoint, and the events and charges that are committed with it. */
export type Result = {
  checkpoint: Checkpoint;
  events: readonly RunEvent[];
  usage: readonly Usage[];
  response: Json | undefined;
};

/** How a try that did not fail ended. */
export type Tried = ({ is: "result" } & Result) | Parked;

/** One try of a visit. It appends its turns to `turns`. */
export type Try = {
  turns: Json[];
  /** The number of this try, from 1. */
  tries: number;
  effectSuffix: string;
  /** What earlier tries used and nothing has charged. */
  unchargedUsage: readonly Usage[];
  /** What this try has used and no turn has charged: appended to as the try goes on. */
  usage: Usage[];
};

/** Tries a step once, within the step's timeout. Throws what the step throws, or a Stop. */
export async function tryStep(visit: Visit, thisTry: Try): Promise<Tried> {
  const { state, walk, step } = visit;
  const began = { at: Date.now(), ms: performance.now() };
  const question = new Question(step.id, visit.visit, thisTry.effectSuffix);
  // Before the step's timeout begins: a store that is unreachable for long must not use up the step's time.
  const reply = await question.reply(state.progress.questionId, readWaitsOf(visit));
  const limit = withTimeout(
    walk.signal,
    step.timeout_seconds * 1_000,
    () => new Stop("step_timeout", `the step took longer than its ${step.timeout_seconds} s`),
  );
  const context = contextOf(visit, thisTry, { signal: limit.signal, reply });
  const run = async (): Promise<Tried> => {
    const result = await runStep(step, context);
    if ("question" in result) return question.park(result, visit.large, thisTry.unchargedUsage);
    return resultOf(visit, thisTry, result, began);
  };
  try {
    // The limit includes the puts of the result: an object store that never answers must not keep the slot.
    return await within(limit.signal, run());
  } finally {
    limit.clear();
  }
}

/** The visit's result, with its large values in the object store. `began`: by the wall clock and the monotonic clock. */
async function resultOf(
  { state, walk, step, visit, large }: Visit,
  { turns, tries, unchargedUsage }: Try,
  result: StepResult,
  began: { at: number; ms: number },
): Promise<Tried> {
  const { waitedMs = 0 } = result;
  const place = { definition: walk.definition, progress: state.progress, step, visit };
  const stored = { ...result, set: await large.storeValues(result.set) };
  const { checkpoint, events } = toCheckpoint(place, stored, {
    startedAt: new Date(began.at - waitedMs).toISOString(),
    durationMs: waitedMs + performance.now() - began.ms,
    tries,
    earlierUsage: [...turns.flatMap(usageOfTurn), ...unchargedUsage],
  });
  return {
    is: "result",
    checkpoint,
    response: result.response === undefined ? undefined : await large.storeResponse(result.response),
    events: await large.storeEvents(events),
    usage: [...unchargedUsage, ...result.usage],
  };
}

/** What the step can reach during this try. */
function contextOf(
  { state, walk, step, visit }: Visit,
  { turns, effectSuffix, unchargedUsage, usage }: Try,
  { signal, reply }: Pick<StepContext, "signal" | "reply">,
): StepContext {
  const { run, progress, runLog, deps } = state;
  const { models, tools, sandbox, artifacts, definitions } = deps;
  const { definition, message } = walk;
  const tenant = run.tenant_id;
  const checkCost = (): void => {
    const inVisit = [...turns.flatMap(usageOfTurn), ...unchargedUsage, ...usage];
    const spent = whenSpent(definition, spentOf(progress) + costOf(inVisit));
    if (spent !== null) throw new TerminalError(spent.code, spent.message);
  };
  return {
    message,
    state: progress.state,
    load: (value) => loadValue(artifacts, value, tenant),
    effectBase: `${run.run_id}:${step.id}:${visit}`,
    effectSuffix,
    turns: [...turns],
    reply,
    signal,
    sandbox: sandbox.of({ tenant, signal }),
    tools,
    // Reads that wait for the store: an unreachable store uses up no try of the step.
    agent: (id) => waitForStore(walk.signal, () => definitions.named("agents", tenant, id)),
    tool: (name) => waitForStore(walk.signal, () => definitions.named("tools", tenant, name)),
    confirm: () => deps.confirm(run, walk.signal),
    checkCost,
    models: {
      generate: async (request) => {
        checkCost();
        // A place of its own for each call: what it tells last counts, also when it fails.
        const at = usage.length;
        const onUsage = (told: ModelAnswer["usage"]): void => {
          usage[at] = { call: request.effectKey, ...told };
        };
        const mustHavePrice = definition.max_total_cost_usd !== null;
        const answer = await models.generate({ ...request, mustHavePrice, onUsage });
        onUsage(answer.usage);
        return answer;
      },
    },
    // Events of a try that its timeout has left behind are dropped.
    note: (...events) => {
      if (!signal.aborted) runLog.note(events.flatMap(published));
    },
    turn: async (data, turnUsage) => {
      signal.throwIfAborted();
      const outcome = await runLog.append(turnEntry(step, { step: step.id, visit, data }, turnUsage));
      if (outcome.is === "rejected") throw new TerminalError("result_rejected", outcome.message);
      turns.push(data);
      // The turn has charged what the try used so far.
      usage.length = 0;
    },
  };
}

function readWaitsOf({ state, walk }: Visit): ReadWaits {
  const { run, runLog, deps } = state;
  return async (waitIds) => {
    // The signals are read before the waits: a later signal makes Postgres refuse the park that follows from these waits.
    const { signals } = runLog;
    const read = () => deps.readWaits(run.run_id, [...waitIds]);
    return { signals, waits: await waitForStore(walk.signal, read) };
  };
}

/** A checkpoint inside a visit of `step`, before its result. */
function turnEntry(step: Step, turn: TurnCheckpoint, usage: readonly Usage[]): Append {
  const output = JSON.stringify(turn);
  const deadline_ms = deadlineOf(step);
  return { kind: "turn", step_path: turn.step, visit: turn.visit, output, events: [], usage, deadline_ms };
}
