import type { Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import { usageOfTurn } from "../engine/conversation.ts";
import { costOf, spentOf, toCheckpoint, whenSpent } from "../engine/machine.ts";
import type { ModelAnswer, StepContext, StepResult } from "../engine/ports.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { runStep } from "../engine/steps/index.ts";
import { Question } from "./question.ts";
import { Stop, within, withTimeout } from "./stop.ts";
import type { Visit, Visited } from "./visit-parts.ts";

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
export async function tryStep(visit: Visit, thisTry: Try): Promise<Visited> {
  const { step } = visit;
  const began = { at: Date.now(), ms: performance.now() };
  const question = new Question(step.id, visit.visit, thisTry.effectSuffix);
  // Before the step's timeout begins: a store that is unreachable for long must not use up the step's time.
  const reply = await question.reply(visit.progress.questionId, visit.readWaits);
  const limit = withTimeout(
    visit.signal,
    step.timeout_seconds * 1_000,
    () => new Stop("step_timeout", `the step took longer than its ${step.timeout_seconds} s`),
  );
  const context = contextOf(visit, thisTry, { signal: limit.signal, reply });
  const run = async (): Promise<Visited> => {
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
  { definition, progress, step, visit, large }: Visit,
  { turns, tries, unchargedUsage }: Try,
  result: StepResult,
  began: { at: number; ms: number },
): Promise<Visited> {
  const { waitedMs = 0 } = result;
  const stored = { ...result, set: await large.storeValues(result.set) };
  const { checkpoint, events } = toCheckpoint({ definition, progress, step, visit }, stored, {
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
  visit: Visit,
  { turns, effectSuffix, unchargedUsage, usage }: Try,
  { signal, reply }: Pick<StepContext, "signal" | "reply">,
): StepContext {
  const { definition, progress } = visit;
  const checkCost = (): void => {
    const inVisit = [...turns.flatMap(usageOfTurn), ...unchargedUsage, ...usage];
    const spent = whenSpent(definition, spentOf(progress) + costOf(inVisit));
    if (spent !== null) throw new TerminalError(spent.code, spent.message);
  };
  return {
    ...visit.context,
    checkCost,
    effectBase: `${visit.runId}:${visit.step.id}:${visit.visit}`,
    effectSuffix,
    turns: [...turns],
    signal,
    sandbox: visit.sandboxOf(signal),
    reply,
    models: {
      generate: async (request) => {
        checkCost();
        // A place of its own for each call: what it tells last counts, also when it fails.
        const at = usage.length;
        const onUsage = (told: ModelAnswer["usage"]): void => {
          usage[at] = { call: request.effectKey, ...told };
        };
        const mustHavePrice = definition.max_total_cost_usd !== null;
        const answer = await visit.context.models.generate({ ...request, mustHavePrice, onUsage });
        onUsage(answer.usage);
        return answer;
      },
    },
    // Events of a try that its timeout has left behind are dropped.
    note: (...events) => {
      if (!signal.aborted) visit.context.note(...events);
    },
    turn: async (data, turnUsage) => {
      signal.throwIfAborted();
      await visit.commitTurn(data, turnUsage);
      turns.push(data);
      // The turn has charged what the try used so far.
      usage.length = 0;
    },
  };
}
