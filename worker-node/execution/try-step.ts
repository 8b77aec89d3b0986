import { isFork } from "../../shared/contracts/definition/index.ts";
import type { Step } from "../../shared/contracts/definition/index.ts";
import { isoTime } from "../../shared/iso-time.ts";
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
import { Stop, abortable, limited, withTimeout } from "./stop.ts";
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
  const limit = withTimeout(signal, limitSeconds * 1_000, () => stepTimeout(limitSeconds));
  const context = contextOf(visit, thisTry, { signal: limit.signal, reply, calls });
  const run = async (): Promise<() => Promise<Tried>> => {
    if (isFork(step)) {
      const fork = await forkerOf(step).begin(step, context);
      return async () => ({ is: "forked", ...fork });
    }
    const result = await runStep(step, context);
    if ("waitsForCalls" in result) return async () => calls.park();
    if (!("waitFor" in result)) return () => resultOf(visit, thisTry, result, began);
    const events = result.events.map((event) => inTrack(track, event));
    return () => wait.park({ ...result, events }, visit.large);
  };
  const store = await abortable(limit.signal, run()).finally(() => limit.clear());
  // Its puts have a limit of their own: a slow object store must not fail a step whose result was in time.
  return await abortable(signal, store());
}

/** The visit's result, with its large values in the object store. `began`: by the wall clock and the monotonic clock. */
async function resultOf(
  { state, scope, track, step, visit, large }: Visit,
  { turns, tryNumber, unchargedUsage, artifacts, answers }: Try,
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
    startedAt: isoTime(Math.trunc(began.at - waitedMs)),
    durationMs,
    tries: tryNumber,
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

/** Whether the waits of a step are those of its calls. Other steps have one wait for each visit. */
function waitsInCalls({ type }: Step): boolean {
  return type === "orchestration" || type === "agent" || type === "tool";
}
