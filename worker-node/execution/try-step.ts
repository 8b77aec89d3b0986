import { isFork } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import { usageOfTurn } from "../engine/conversation-turns.ts";
import { inTrack } from "../engine/events.ts";
import { toCheckpoint } from "../engine/machine.ts";
import type { PureStep } from "../engine/steps/index.ts";
import type { StepResult } from "../engine/ports.ts";
import { forkerOf, isPure, runPure, runStep } from "../engine/steps/index.ts";
import { keepAnswers } from "./kept-answers.ts";
import { CallWaits } from "./call-waits.ts";
import type { Visit } from "./execution-state.ts";
import { inStepSpan } from "./step-span.ts";
import { Stop, abortable, limited } from "./stop.ts";
import { VisitWait } from "./visit-wait.ts";
import { contextOf, pureContextOf } from "./step-context.ts";
import type { Try } from "./step-context.ts";
import type { Tried } from "./visit-result.ts";

/**
 * The longest time in which a step that divides the run, or starts another run, may begin: it may have to load values. The
 * `timeout_seconds` of such a step limits its tracks, or its wait, and not its beginning.
 */
const BEGIN_SECONDS = 300;

/** Tries a step once, within the step's timeout. Throws what the step throws, or a Stop. */
export function tryStep(visit: Visit, thisTry: Try): Promise<Tried> {
  const { step } = visit;
  return inStepSpan(visit, thisTry.tryNumber, (span) =>
    !isFork(step) && isPure(step) ? tryPure(visit, step, thisTry) : tryInSpan({ ...visit, span }, thisTry),
  );
}

/** Tries a step without effects: it waits for no answer and no call, so there is nothing to prepare for them. */
async function tryPure(visit: Visit, step: PureStep, thisTry: Try): Promise<Tried> {
  const began = { at: Date.now(), ms: performance.now() };
  const { signal } = visit;
  const limit = { signal, ms: step.timeout_seconds * 1_000, stop: () => stepTimeout(step.timeout_seconds) };
  const result = await limited(limit, (ofStep) => runPure(step, pureContextOf(visit, ofStep)));
  return resultOf(visit, thisTry, result, began);
}

function stepTimeout(seconds: number): Stop {
  return new Stop("step_timeout", `the step took longer than its ${seconds} s`);
}

async function tryInSpan(visit: Visit, thisTry: Try): Promise<Tried> {
  const { state, step, track, signal } = visit;
  const wait = new VisitWait(visit, thisTry.effectSuffix);
  const calls = new CallWaits(visit);
  // Before the step's timeout begins: a store that is unreachable for long must not use up the step's time.
  const reply = waitsInCalls(step) ? null : await wait.reply(state, signal);
  // Read after the reply, which says how long the wait has been open until now.
  const began = { at: Date.now(), ms: performance.now() };
  // The timeout of an orchestration step is that of its wait.
  const ownSeconds = step.type === "orchestration" ? null : step.timeout_seconds;
  const limitSeconds = ownSeconds ?? BEGIN_SECONDS;
  const limit = { signal, ms: limitSeconds * 1_000, stop: () => stepTimeout(limitSeconds) };
  const run = async (ofStep: AbortSignal): Promise<() => Tried | Promise<Tried>> => {
    const context = contextOf(visit, thisTry, { signal: ofStep, reply, calls });
    if (isFork(step)) {
      const fork = await forkerOf(step).begin(step, context);
      return () => ({ is: "forked", ...fork });
    }
    const result = await runStep(step, context);
    if ("waitsForCalls" in result) return () => calls.park();
    if (!("waitFor" in result)) {
      return () => resultOf(visit, thisTry, { ...result, events: wait.named(result.events) }, began);
    }
    const events = result.events.map((event) => inTrack(track, event));
    return () => wait.park({ ...result, events }, visit.large);
  };
  const store = await limited(limit, (ofStep) => run(ofStep()));
  const tried = store();
  // Its puts have a limit of their own: a slow object store must not fail a step whose result was in time.
  return tried instanceof Promise ? abortable(signal, tried) : tried;
}

/**
 * The visit's result, with its large values in the object store; at once, if it has none. `began`: by the wall clock and the monotonic
 * clock.
 */
function resultOf(
  visit: Visit,
  thisTry: Try,
  result: StepResult,
  began: { at: number; ms: number },
): Tried | Promise<Tried> {
  visit.state.reply?.answer(result.response);
  keepAnswers(visit.state, thisTry.answers);
  const set = visit.large.storeValues(result.set);
  return set instanceof Promise
    ? set.then((small) => endVisit(visit, thisTry, { ...result, set: small }, began))
    : endVisit(visit, thisTry, { ...result, set }, began);
}

/** The checkpoint and the events of a visit. `result`: its `set` is stored. */
function endVisit(
  { state, scope, track, step, visit, large }: Visit,
  { turns, tryNumber, unchargedUsage, artifacts }: Try,
  result: StepResult,
  began: { at: number; ms: number },
): Tried | Promise<Tried> {
  const { waitedMs = 0 } = result;
  const durationMs = waitedMs + performance.now() - began.ms;
  state.deps.count.observe("synapse_step_duration_seconds", { step_type: step.type }, durationMs / 1_000);
  const { checkpoint, events } = toCheckpoint({ definition: scope.definition, track, step, visit }, result, {
    startedAt: isoTime(Math.trunc(began.at - waitedMs)),
    durationMs,
    tries: tryNumber,
    earlierUsage: [...turns.flatMap(usageOfTurn), ...unchargedUsage],
  });
  const usage = [...unchargedUsage, ...result.usage];
  const response = result.response === undefined ? undefined : large.storeResponse(result.response);
  const shown = large.storeEvents(events.map((event) => inTrack(track, event)));
  if (response instanceof Promise || shown instanceof Promise)
    return Promise.all([response, shown]).then(([small, published]) => ({
      is: "result",
      checkpoint,
      response: small,
      events: published,
      usage,
      artifacts,
    }));
  return { is: "result", checkpoint, response, events: shown, usage, artifacts };
}

/** Whether the waits of a step are those of its calls. Other steps have one wait for each visit. */
function waitsInCalls({ type }: Step): boolean {
  return type === "orchestration" || type === "agent" || type === "tool";
}
