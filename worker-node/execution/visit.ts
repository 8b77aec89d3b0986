import { setTimeout as sleep } from "node:timers/promises";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { Checkpoint, RetryPark, Usage } from "../../shared/contracts/journal-entry.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import { usageOfTurn } from "../engine/conversation.ts";
import { RetryableError } from "../engine/errors.ts";
import { stepRetry } from "../engine/events.ts";
import { settle } from "../engine/machine.ts";
import type { StepContext } from "../engine/ports.ts";
import { failureOf, judge } from "../engine/retry-policy.ts";
import { run as runStep } from "../engine/steps/index.ts";
import type { Parked } from "../journal/entry.ts";
import { Question } from "./question.ts";
import type { ReadWaits } from "./question.ts";
import { Stop, withTimeout, within } from "./stop.ts";
import type { LargeValues } from "./large-values.ts";

/** Waits up to this long keep the run's slot; longer ones give it back and are kept in Postgres. */
const SHORT_WAIT_MS = 5_000;

/** What a visit of a step has come to. */
export type Visited =
  | {
      is: "result";
      checkpoint: Checkpoint;
      events: RunEvent[];
      usage: readonly Usage[];
      response: Json | undefined;
    }
  | {
      is: "failed";
      error: { code: string; message: string };
      tries: number;
      firstFailedAt: string;
      cause: unknown;
      usage: readonly Usage[];
    }
  | Parked;

/** What a visit needs of its execution. `context` is what the step sees, without what the visit knows by itself. */
export type Visit = {
  definition: Orchestration;
  progress: Progress;
  step: Step;
  visit: number;
  context: Omit<StepContext, "turns" | "turn" | "effectBase" | "effectSuffix" | "reply" | "signal">;
  runId: string;
  large: LargeValues;
  signal: AbortSignal;
  readWaits: ReadWaits;
  /** Commits a checkpoint inside the step; throws a Stop when the run is not this worker's any more. */
  commitTurn(data: Json, usage: readonly Usage[]): Promise<void>;
};

/** Tries a step until it has a result, fails for good, or is to wait for longer than a slot should be held. */
export async function visitStep(visit: Visit): Promise<Visited> {
  const { progress, step, signal } = visit;
  const turns = [...progress.turns];
  let tries = progress.park?.tries ?? 0;
  let firstFailedAt = progress.park?.first_failed_at;
  let answered = progress.park?.answered ?? 0;
  /** What models answered in tries that failed: it is paid for, and charged with whatever is committed next. */
  const lost: Usage[] = [];
  for (;;) {
    tries += 1;
    const spent: Usage[] = [];
    try {
      return await tryOnce(visit, {
        turns,
        tries,
        effectSuffix: suffixOf(progress.rewinds, answered),
        lost,
        spent,
      });
    } catch (error) {
      for (const [i, usage] of spent.entries()) lost.push({ ...usage, call: `try.${tries}.${i + 1}` });
      if (signal.aborted) throw signal.reason;
      const verdict =
        error instanceof Stop ? { do: "fail" as const } : judge(error, tries, step.retry, Math.random);
      firstFailedAt ??= new Date().toISOString();
      const failure = error instanceof Stop ? { code: error.why, message: error.message } : failureOf(error);
      if (verdict.do === "fail") {
        return { is: "failed", error: failure, tries, firstFailedAt, cause: error, usage: lost };
      }
      if (error instanceof RetryableError && error.answered) answered += 1;
      const event = stepRetry(step, failure, tries, verdict.afterMs);
      if (verdict.afterMs > SHORT_WAIT_MS) {
        const park: RetryPark = {
          step: step.id,
          visit: visit.visit,
          reason: "retry",
          tries,
          answered,
          error: failure,
          first_failed_at: firstFailedAt,
        };
        const { afterMs } = verdict;
        return {
          is: "wait",
          status: "queued",
          afterMs,
          park,
          waits: [],
          signals: null,
          events: [event],
          usage: lost,
        };
      }
      visit.context.note(event);
      await sleep(verdict.afterMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }
}

/** What makes a call another call: that a client had the run go on, that the other side has answered no. */
function suffixOf(rewinds: number, answered: number): string {
  return `${rewinds === 0 ? "" : `:r${rewinds}`}${answered === 0 ? "" : `:${answered}`}`;
}

/** One try: `turns` and `spent` are added to as it goes, `lost` is what tries before it spent. */
type Try = { turns: Json[]; tries: number; effectSuffix: string; lost: readonly Usage[]; spent: Usage[] };

async function tryOnce(visit: Visit, { turns, tries, effectSuffix, lost, spent }: Try): Promise<Visited> {
  const { definition, progress, step, large } = visit;
  const startedAt = Date.now();
  const startedMs = performance.now();
  const question = new Question(step.id, visit.visit, effectSuffix);
  // Outside of the step's own time: a store that is away for long is no fault of the step.
  const reply = await question.reply(progress.asked, visit.readWaits);
  const limit = withTimeout(
    visit.signal,
    step.timeout_seconds * 1_000,
    () => new Stop("step_timeout", `the step took longer than its ${step.timeout_seconds} s`),
  );
  const context: StepContext = {
    ...visit.context,
    effectBase: `${visit.runId}:${step.id}:${visit.visit}`,
    effectSuffix,
    turns: [...turns],
    signal: limit.signal,
    reply,
    models: {
      generate: async (request) => {
        const answer = await visit.context.models.generate(request);
        spent.push({ call: request.effectKey, ...answer.usage });
        return answer;
      },
    },
    // A try that its timeout has left behind is not heard any more.
    note: (...events) => {
      if (!limit.signal.aborted) visit.context.note(...events);
    },
    turn: async (data, usage) => {
      limit.signal.throwIfAborted();
      await visit.commitTurn(data, usage);
      turns.push(data);
      // What a turn reports is charged.
      spent.length = 0;
    },
  };
  try {
    const result = await within(limit.signal, runStep(step, context));
    if ("ask" in result) return await within(limit.signal, question.park(result, large, lost));
    const { waitedMs = 0 } = result;
    // Within the step's time too: an object store that never answers must not keep the slot.
    const small = { ...result, set: await within(limit.signal, large.outOf(result.set)) };
    const { checkpoint, events } = settle(definition, progress, step, visit.visit, small, {
      startedAt: new Date(startedAt - waitedMs).toISOString(),
      durationMs: waitedMs + performance.now() - startedMs,
      tries,
      turnUsage: [...turns.flatMap(usageOfTurn), ...lost],
    });
    const response =
      result.response === undefined
        ? undefined
        : await within(limit.signal, large.outOfResponse(result.response));
    return {
      is: "result",
      checkpoint,
      events: await within(limit.signal, large.outOfEvents(events)),
      usage: [...lost, ...result.usage],
      response,
    };
  } finally {
    limit.clear();
  }
}
