import { placeOf, trackAt, visitsOf } from "../../shared/journal/track.ts";
import { namesOf } from "./events.ts";
import type { Orchestration, Step } from "../../shared/contracts/definition/index.ts";
import type { RunEvent } from "../../shared/contracts/event.ts";
import type { Checkpoint, Usage } from "../../shared/contracts/journal-entry.ts";
import type { Json } from "../../shared/contracts/json.ts";
import type { Progress } from "../../shared/journal/fold.ts";
import type { Track } from "../../shared/journal/track.ts";
import type { StepResult } from "./ports.ts";

/** What a track does next. `visit`: the number of the step's visit in its track, from 1. */
export type Next =
  | { do: "step"; step: Step; visit: number }
  | { do: "end"; status: "completed" }
  | { do: "end"; status: "failed"; error: { code: string; message: string; step_id: string | null } };

/**
 * What a track of a run with this progress does next. The only place that decides it.
 * @param definition as `layOut` returns it
 */
export function next(definition: Orchestration, progress: Progress, track: Track): Next {
  const id = track.next === undefined ? entryOf(definition, progress, track) : track.next;
  if (id === null) return { do: "end", status: "completed" };
  const step = stepOf(definition, id);
  if (step === undefined) return failed("unknown_step", `the definition has no step "${id}"`);
  if (progress.resultCount >= definition.max_total_turns) {
    return failed(
      "max_total_turns",
      `the run has reached its turn limit of ${definition.max_total_turns} (max_total_turns) and is not at its end`,
    );
  }
  const spent = whenSpent(definition, progress.costMicroUsd);
  if (spent !== null) return failed(spent.code, spent.message);
  const visits = visitsOf(track, id);
  // `applyLoopLimits` leads to a step that is used up only when no step follows it.
  if (isUsedUp(step, visits)) {
    return failed(
      "loop_limit_reached",
      `step "${id}" has had its ${step.max_iterations} iterations, and no next_step_id says where it goes then`,
      id,
    );
  }
  return { do: "step", step, visit: visits + 1 };
}

/** The step with which a track begins. */
function entryOf(definition: Orchestration, progress: Progress, { place }: Track): string {
  const index = place.at(-1);
  if (index === undefined) return definition.entry_step_id;
  const above = trackAt(progress, place.slice(0, -1));
  const fork = above.fork === null ? undefined : stepOf(definition, above.fork.step);
  const entry = fork?.type === "parallel" ? fork.parallel_branches[index]?.[0] : undefined;
  return (fork?.type === "loop" ? fork.loop_step_ids[0] : entry) ?? "";
}

function failed(code: string, message: string, step_id: string | null = null): Next {
  return { do: "end", status: "failed", error: { code, message, step_id } };
}

/** The error of a run that has reached its money limit before its end; null: it may go on. */
export function whenSpent(
  { max_total_cost_usd: limit }: Orchestration,
  costMicroUsd: number,
): { code: string; message: string } | null {
  if (limit === null || costMicroUsd < limit * 1_000_000) return null;
  return { code: "max_total_cost", message: `the run has spent its ${limit} USD and is not at its end` };
}

/** The cost of results, or of calls, in micro-dollars. */
export function costOf(charged: readonly { cost_micro_usd: number }[]): number {
  return charged.reduce((sum, { cost_micro_usd }) => sum + cost_micro_usd, 0);
}

/** A visit of a step, with the run's definition and the step's track before the result. */
export type VisitOf = { definition: Orchestration; track: Track; step: Step; visit: number };

/** What a visit took. `startedAt`: when its last try began, less the time that the step had waited before. */
export type Timing = {
  startedAt: string;
  durationMs: number;
  tries: number;
  /** Usage of the visit that the step's result does not report: of its turns and of failed tries. */
  earlierUsage: readonly Usage[];
};

/**
 * The checkpoint of a visit with this result, and the events that are committed with it, in their order. The
 * checkpoint's `next` is where the track really goes: loop limits are applied.
 */
export function toCheckpoint(
  { definition, track, step, visit }: VisitOf,
  result: StepResult,
  timing: Timing,
): { checkpoint: Checkpoint; events: RunEvent[] } {
  const checkpoint = endOfTrack({ track, step, visit }, result, timing);
  const target = result.ends ? null : result.route ? result.route.target : (step.next_step_id ?? null);
  const visitsAfter = (id: string): number => visitsOf(track, id) + (id === step.id ? 1 : 0);
  const limited = applyLoopLimits(definition, visitsAfter, target);
  const seconds = Math.round(timing.durationMs / 10) / 100;
  return {
    checkpoint: { ...checkpoint, next: limited.target },
    events: [
      ...result.events,
      { type: "step_complete", ...namesOf(step), duration_seconds: seconds },
      ...(result.after ?? []),
      ...limited.events,
    ],
  };
}

/** The checkpoint of a visit after which its track ends. */
export function endOfTrack(
  { track, step, visit }: Omit<VisitOf, "definition">,
  { set, usage: own, effects, answeredBy }: Pick<StepResult, "set" | "usage" | "effects" | "answeredBy">,
  { startedAt, durationMs, tries, earlierUsage }: Timing,
): Checkpoint {
  const usage = [...earlierUsage, ...own];
  return {
    ...placeOf(track),
    step: step.id,
    visit,
    type: step.type,
    name: step.name,
    set,
    next: null,
    output_key: step.output_key,
    started_at: startedAt,
    duration_ms: Math.round(durationMs),
    tries,
    tokens: usage.reduce((sum, call) => sum + call.input_tokens + call.output_tokens, 0),
    cost_micro_usd: costOf(usage),
    effects: [...effects],
    ...(answeredBy !== undefined && { answered_by: answeredBy }),
    ...(usage.some((call) => call.estimated) ? { estimated: true as const } : {}),
  };
}

function stepOf(definition: Orchestration, id: string): Step | undefined {
  return definition.steps.find((step) => step.id === id);
}

/** Whether a step has had all the results that its `max_iterations` allows. */
function isUsedUp(step: Step, visits: number): boolean {
  return step.max_iterations !== 0 && visits >= step.max_iterations;
}

/**
 * Where a track really goes when a step leads to `target`. A step that already has its `max_iterations` results is
 * skipped: the run goes to its `next_step_id` instead, and so on. When that is null, the run ends there. When it is absent,
 * or leads only to skipped steps, the target is the last of these and the run fails. A loop that was ended by its limit
 * has not reached its goal. Each skipped step has an event `loop_limit_reached`.
 * @param visitsAfter the visits of a step, the result that leads to `target` included
 */
function applyLoopLimits(
  definition: Orchestration,
  visitsAfter: (step: string) => number,
  target: string | null,
): { target: string | null; events: RunEvent[] } {
  const events: RunEvent[] = [];
  const skipped = new Set<string>();
  let current = target;
  while (current !== null && !skipped.has(current)) {
    const step = stepOf(definition, current);
    const visits = visitsAfter(current);
    if (step === undefined || !isUsedUp(step, visits)) break;
    events.push({
      type: "loop_limit_reached",
      orch_step_id: current,
      iterations: visits,
      max_iterations: step.max_iterations,
    });
    skipped.add(current);
    if (step.next_step_id === undefined) break;
    current = step.next_step_id;
  }
  return { target: current, events };
}

/**
 * The response of a completed run: that of its last step (`last`), else the value of the last result with an
 * `output_key`, else a sentence.
 */
export function finalResponse(progress: Progress, last: Json | undefined): Json {
  if (last !== undefined) return last;
  const value = progress.lastKey === null ? undefined : progress.state[progress.lastKey];
  return value === undefined ? `Completed after ${progress.resultCount} steps.` : value;
}
