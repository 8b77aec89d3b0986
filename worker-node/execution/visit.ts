import { setTimeout as sleep } from "node:timers/promises";
import { isFork } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type {
  Checkpoint,
  ForkRecord,
  RetryPark,
  TurnCheckpoint,
  Usage,
} from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { whenStateTooLarge } from "../../shared/journal/size-limits.ts";
import { placeOf, stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import { effectsOfTurn, turnOfUsage, usageOfTurn } from "../engine/conversation-turns.ts";
import { loopVariablesOf, sourceOf } from "../engine/loop-variables.ts";
import { inTrack, stepRetry } from "../engine/events.ts";
import type { AnswerToKeep } from "../../shared/store/money/kept-answers.ts";
import type { NewArtifact } from "../../shared/store/files/new-artifact.ts";
import { runFiles } from "../files/run-files.ts";
import { costOf, toCheckpoint, whenSpent } from "../engine/machine.ts";
import type { StepContext, StepResult } from "../engine/ports.ts";
import { failureOf, judge } from "../engine/retry-policy.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { ProviderWait } from "../models/provider-wait.ts";
import { forkerOf, runStep } from "../engine/steps/index.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append } from "../journal/run-log.ts";
import { BudgetPause } from "./budgets.ts";
import { agentOf, chatOf } from "./chat-context.ts";
import { spentBy } from "./child-limits.ts";
import { afterCrash } from "./cut-calls.ts";
import { Children } from "./children.ts";
import { keepAnswers, withKeptAnswers } from "./kept-answers.ts";
import { paidModels } from "./paid-models.ts";
import { waitForBudget } from "./wait-for-budget.ts";
import { waitForProvider } from "./wait-for-provider.ts";
import { publishedEvents } from "./published-events.ts";
import type { LongWait, Visit } from "./execution-state.ts";
import { loadValue } from "./large-values.ts";
import { sizeOf } from "./state-size.ts";
import { Stop, withTimeout, within } from "./stop.ts";
import { VisitWait } from "./visit-wait.ts";
import { waitForStore } from "./wait-for-store.ts";

/**
 * The time in which a step must begin that divides the run, or starts another one: it may load values. The `timeout_seconds` of such a step is
 * that of its tracks, or of its wait.
 */
const BEGIN_SECONDS = 300;
/** Waits up to this long keep the run's slot; longer ones give it back. */
export const SHORT_WAIT_MS = 5_000;

/** The result of a visit: its checkpoint, and the events, charges and files that are committed with it. */
export type Result = {
  checkpoint: Checkpoint;
  events: readonly RunEvent[];
  usage: readonly Usage[];
  /** The files that the visit has written since its last turn. */
  artifacts?: readonly NewArtifact[];
  response: Json | undefined;
};

/** How a try that did not fail ended. */
type Tried = ({ is: "result" } & Result) | Forked | LongWait;

/** The visit divides its track. */
export type Forked = { is: "forked"; in: ForkRecord["in"]; count: number; events: readonly RunEvent[] };

/** The visit failed for good. */
export type FailedVisit = {
  is: "failed";
  error: { code: string; message: string };
  tries: number;
  firstFailedAt: string | null;
  cause: unknown;
  usage: readonly Usage[];
};

/** How a visit of a step ended: with a result, with tracks of its own, with a wait, or in failure. */
type Visited = Tried | FailedVisit;

/** The tries of a visit so far. */
type Tries = {
  count: number;
  /** How many tries ended in a refusal by the other side. */
  refused: number;
  firstFailedAt: string | null;
  /** Model calls of failed tries: they cost money, so they are charged with whatever is committed next. */
  unchargedUsage: Usage[];
};

/** Tries a step until it has a result, fails for good, or has to wait for longer than a slot should be held. */
export async function visitStep(visit: Visit): Promise<Visited> {
  const { state, track } = visit;
  const turns = [...track.turns];
  if (state.reply) state.reply.turns = turns;
  const tries = triesBefore(track.retry);
  const usage: TryUsage = new Map();
  const spent = (): number =>
    costOf([...turns.flatMap(usageOfTurn), ...tries.unchargedUsage, ...usage.values()]);
  // Also while the next try waits: other branches must not spend what this one has.
  state.spending.add(spent);
  try {
    return await tryUntilDecided(visit, tries, turns, usage);
  } finally {
    state.spending.delete(spent);
  }
}

async function tryUntilDecided(visit: Visit, tries: Tries, turns: Json[], usage: TryUsage): Promise<Visited> {
  const { state, track, signal } = visit;
  const path = stepPath(track, visit.step.id);
  const inRun = track.path === "" ? "" : `${path}:`;
  for (;;) {
    tries.count += 1;
    const effectSuffix = suffixOf(state.progress.rewinds, tries.refused);
    try {
      const { count, unchargedUsage } = tries;
      return await tryStep(visit, {
        turns,
        tries: count,
        effectSuffix,
        unchargedUsage,
        usage,
        artifacts: [],
        answers: [],
      });
    } catch (error) {
      // A stop cuts the calls of the try off, or makes their answers useless. Failed tries are charged like others.
      const wasted = signal.aborted || error instanceof Stop ? { wasted: true as const } : {};
      for (const [i, call] of [...usage.values()].entries()) {
        tries.unchargedUsage.push({ ...call, call: `${inRun}try.${tries.count}.${i + 1}`, ...wasted });
      }
      usage.clear();
      if (signal.aborted) {
        await chargeStopped(visit, tries.unchargedUsage);
        throw signal.reason;
      }
      if (error instanceof BudgetPause) return waitForBudget(visit, tries, error);
      if (error instanceof ProviderWait) return waitForProvider(visit, tries, error);
      const { code } = error instanceof Stop ? { code: error.why } : failureOf(error);
      state.deps.count.add("synapse_step_failures_total", { step_type: visit.step.type, code });
      const decided = afterFailure(visit, tries, error);
      if (decided.is !== "retry") return decided;
      await sleep(decided.afterMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** Charges the model calls of a stopped visit: with a later entry of the run, or in a turn before the run is handed back. */
async function chargeStopped({ state, track, step, visit, signal }: Visit, usage: Usage[]): Promise<void> {
  const reason: unknown = signal.reason;
  if (!(reason instanceof Stop && reason.why === "drain")) {
    state.unchargedUsage.push(...usage);
  } else if (usage.length > 0) {
    const turn = { ...placeOf(track), step: step.id, visit, data: turnOfUsage(usage) };
    await state.runLog.append(turnEntry(track, step, turn, usage));
  }
}

function triesBefore(retry: RetryPark | null): Tries {
  return {
    count: retry?.tries ?? 0,
    refused: retry?.answered ?? 0,
    firstFailedAt: retry?.first_failed_at ?? null,
    unchargedUsage: [],
  };
}

/** Decides on a failed try: the visit fails, parks, or is tried again after a wait that keeps the slot. */
function afterFailure(
  { state, scope, track, step, visit }: Visit,
  tries: Tries,
  error: unknown,
): Visited | { is: "retry"; afterMs: number } {
  const firstFailedAt = (tries.firstFailedAt ??= new Date().toISOString());
  const { count, unchargedUsage: usage } = tries;
  const failure = error instanceof Stop ? { code: error.why, message: error.message } : failureOf(error);
  const verdict =
    error instanceof Stop
      ? { do: "fail" as const }
      : judge(error, count, step.retry, { random: Math.random, leftMs: scope.endsAtMs - performance.now() });
  if (verdict.do === "fail") {
    return { is: "failed", error: failure, tries: count, firstFailedAt, cause: error, usage };
  }
  if (error instanceof RetryableError && error.answered) tries.refused += 1;
  const { afterMs } = verdict;
  const event = inTrack(track, stepRetry(step, failure, count, afterMs));
  if (afterMs <= SHORT_WAIT_MS) {
    state.runLog.note(publishedEvents(event));
    return { is: "retry", afterMs };
  }
  const park: RetryPark = {
    ...placeOf(track),
    step: step.id,
    visit,
    reason: "retry",
    tries: count,
    answered: tries.refused,
    error: failure,
    cost_micro_usd: costOf(usage),
    first_failed_at: firstFailedAt,
    wait_ms: afterMs,
  };
  return { is: "wait", status: "queued", afterMs, park, waits: [], signals: null, events: [event], usage };
}

/**
 * The usage of a try that no turn has charged: of model calls by their effect keys, and of runs. Agents may make several calls
 * at the same time.
 */
type TryUsage = Map<string, Usage>;

/** The suffix of effect keys: after a client's retry of the run, and after a refusal, a call gets a new key. */
function suffixOf(rewinds: number, refused: number): string {
  return `${rewinds === 0 ? "" : `:r${rewinds}`}${refused === 0 ? "" : `:${refused}`}`;
}

/** One try of a visit. It appends its turns to `turns`. */
type Try = {
  turns: Json[];
  /** The number of this try, from 1. */
  tries: number;
  effectSuffix: string;
  /** The model calls of earlier tries, and of a crashed execution, that are not charged yet. The try appends the latter. */
  unchargedUsage: Usage[];
  usage: TryUsage;
  /** The files of this try that no turn has committed. The try appends to it. */
  artifacts: NewArtifact[];
  /** The answers of models that are kept when the step has its result. */
  answers: AnswerToKeep[];
};

/** Tries a step once, within the step's timeout. Throws what the step throws, or a Stop. */
async function tryStep(visit: Visit, thisTry: Try): Promise<Tried> {
  const { state, step, track, signal } = visit;
  const wait = new VisitWait(visit, thisTry.effectSuffix);
  const children = new Children(visit);
  // Before the step's timeout begins: a store that is unreachable for long must not use up the step's time.
  const reply = startsRuns(step) ? null : await wait.reply(state, signal);
  // After it: the reply says how long the wait has been open until now.
  const began = { at: Date.now(), ms: performance.now() };
  // The timeout of an orchestration step is that of its wait.
  const ownSeconds = step.type === "orchestration" ? null : step.timeout_seconds;
  const limitSeconds = ownSeconds ?? BEGIN_SECONDS;
  const limit = withTimeout(
    signal,
    limitSeconds * 1_000,
    () => new Stop("step_timeout", `the step took longer than its ${limitSeconds} s`),
  );
  const child: StepContext["child"] = (request) => children.reply(request);
  const context = contextOf(visit, thisTry, { signal: limit.signal, reply, child });
  const run = async (): Promise<() => Promise<Tried>> => {
    if (isFork(step)) {
      const fork = await forkerOf(step).begin(step, context);
      return async () => ({ is: "forked", ...fork });
    }
    const result = await runStep(step, context);
    if ("waitsForChildren" in result) return async () => children.park(thisTry.unchargedUsage);
    if (!("waitFor" in result)) return () => resultOf(visit, thisTry, result, began);
    const events = result.events.map((event) => inTrack(track, event));
    return () => wait.park({ ...result, events }, visit.large, thisTry.unchargedUsage);
  };
  const store = await within(limit.signal, run()).finally(() => limit.clear());
  // Its puts have a limit of their own: a slow object store must not fail a step whose result was in time.
  return await within(signal, store());
}

/** The visit's result, with its large values in the object store. `began`: by the wall clock and the monotonic clock. */
async function resultOf(
  { state, scope, track, step, visit, large }: Visit,
  { turns, tries, unchargedUsage, artifacts, answers }: Try,
  result: StepResult,
  began: { at: number; ms: number },
): Promise<Tried> {
  const { waitedMs = 0 } = result;
  state.reply?.answer(result.response);
  keepAnswers(state, answers);
  const place = { definition: scope.definition, track, step, visit };
  const stored = { ...result, set: await large.storeValues(result.set) };
  const durationMs = waitedMs + performance.now() - began.ms;
  state.deps.count.observe("synapse_step_duration_seconds", { step_type: step.type }, durationMs / 1_000);
  const { checkpoint, events } = toCheckpoint(place, stored, {
    startedAt: new Date(began.at - waitedMs).toISOString(),
    durationMs,
    tries,
    earlierUsage: [...turns.flatMap(usageOfTurn), ...unchargedUsage],
  });
  return {
    is: "result",
    checkpoint,
    response: result.response === undefined ? undefined : await large.storeResponse(result.response),
    events: await large.storeEvents(events.map((event) => inTrack(track, event))),
    usage: [...unchargedUsage, ...result.usage],
    artifacts,
  };
}

/** Whether a step may start runs and wait for them. The wait for a person is that of other steps. */
function startsRuns({ type }: Step): boolean {
  return type === "orchestration" || type === "agent";
}

/** What the step can reach during this try. */
function contextOf(
  visit: Visit,
  { turns, tries, effectSuffix, unchargedUsage, usage, artifacts: written, answers: given }: Try,
  { signal, reply, child }: Pick<StepContext, "signal" | "reply" | "child">,
): StepContext {
  const { state, scope, track, step, large, signal: trackSignal } = visit;
  const { run, runLog, deps } = state;
  const path = stepPath(track, step.id);
  const { tools, sandbox, artifacts, definitions } = deps;
  const { definition, message } = scope;
  const tenant = run.tenant_id;
  /** Turns on their way: an agent commits the results of calls that it made at the same time. */
  const pending = new Set<Json>();
  const load = (value: Json): Promise<Json> => loadValue(artifacts, value, tenant);
  const at = { prefix: large.prefix, step_path: path, visit: visit.visit };
  const spent = (): number => {
    const cost = spentBy(state);
    const reached = whenSpent(definition, cost);
    if (reached !== null) throw new TerminalError(reached.code, reached.message);
    return cost;
  };
  return {
    message,
    state: track.state,
    load,
    loopVariables: () => loopVariablesOf({ definition, root: state.progress, track, load }),
    sourceOf: (key) => sourceOf(definition.steps, track, key),
    effectBase: `${run.run_id}:${path}:${visit.visit}`,
    effectSuffix,
    turns: [...turns],
    reply,
    signal,
    sandbox: sandbox.of({ tenant, signal }),
    tools,
    files: runFiles(deps, run, at, written, signal),
    filesOfCall: () => {
      const own: NewArtifact[] = [];
      return { ...runFiles(deps, run, at, own, signal), written: own };
    },
    // Reads that wait for the store: an unreachable store uses up no try of the step.
    agent: (id) => waitForStore(trackSignal, () => agentOf(definitions, run, id)),
    chat: chatOf(state, scope, trackSignal),
    tool: (name) => waitForStore(trackSignal, () => definitions.named("tools", tenant, name)),
    mcpServer: (name) => waitForStore(trackSignal, () => definitions.mcpServer(tenant, name)),
    confirm: () => deps.confirm(run, trackSignal),
    checkCost: () => void spent(),
    child: (request) => {
      spent();
      return child(request);
    },
    charge: (used) => void usage.set(used.call, used),
    models: withKeptAnswers(
      visit,
      { mayTake: tries === 1 && state.progress.rewinds === 0, given, signal },
      afterCrash(
        visit,
        { signal, charge: (cut) => void unchargedUsage.push(cut) },
        paidModels(visit, { usage, signal, spent }),
      ),
    ),
    // After its timeout a try may still note events: they are dropped.
    note: (...events) => {
      if (signal.aborted) return;
      const published = events.map((event) => inTrack(track, event)).flatMap(publishedEvents);
      state.reply?.hear(published);
      runLog.note(published);
    },
    turn: async (data, turnUsage, ofCall) => {
      signal.throwIfAborted();
      const heldBytes = [...turns, ...pending, data].reduce<number>(
        (sum, turn) => sum + sizeOf(turn),
        state.size.bytes,
      );
      const what = `the state of the run with the turns of step "${step.id}"`;
      const tooLarge = whenStateTooLarge(what, heldBytes);
      if (tooLarge) throw new TerminalError(tooLarge.code, tooLarge.message);
      const checkpoint = { ...placeOf(track), step: step.id, visit: visit.visit, data };
      // A file that a call writes from here on belongs to the next checkpoint.
      const files = ofCall?.written ?? written.splice(0);
      pending.add(data);
      const entry = turnEntry(track, step, checkpoint, turnUsage, files);
      const outcome = await runLog.append(entry).finally(() => pending.delete(data));
      if (outcome.is === "rejected") throw new TerminalError("result_rejected", outcome.message);
      turns.push(data);
      for (const key of effectsOfTurn(data)) usage.delete(key);
    },
  };
}

/** A checkpoint inside a visit of `step`, before its result. */
function turnEntry(
  track: Track,
  step: Step,
  turn: TurnCheckpoint,
  usage: readonly Usage[],
  artifacts: readonly NewArtifact[] = [],
): Append {
  const output = JSON.stringify(turn);
  const [step_path, deadline_ms] = [stepPath(track, step.id), deadlineOf(step)];
  return { kind: "turn", step_path, visit: turn.visit, output, events: [], usage, artifacts, deadline_ms };
}
