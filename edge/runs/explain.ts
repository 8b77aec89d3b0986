import { z } from "zod";
import { workerOf } from "../../shared/contracts/ids.ts";
import { BudgetWait } from "../../shared/contracts/budget.ts";
import { ParkRecord } from "../../shared/contracts/journal-entry.ts";
import { pathOfWait } from "../../shared/journal/track.ts";
import { readPrompt } from "../../shared/store/runs/waits.ts";
import type { RunFacts } from "../../shared/store/runs/run-facts.ts";
import { RECLAIM_MS, SILENT_AFTER_MS, TAKEOVER_MS } from "../../shared/timing.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import { diagnosisOf, noWorkerSentence, workersOf } from "./diagnosis-view.ts";
import type { Blocker, Cause, Diagnosis, QueueState } from "./diagnosis-view.ts";
import { notYetDue, ready, retryOf, retryWait } from "./explain-queued.ts";

/**
 * Why a run does not progress, from what Postgres and the queue know.
 * @param isIsolated false: the tenants' limits are off
 */
export function explain(facts: RunFacts, queue: QueueState, isIsolated: boolean): Diagnosis {
  const isReady = facts.status === "queued" && (facts.wake_at_ms ?? 0) <= facts.now_ms;
  return diagnosisOf(facts, causeOf(facts, queue, isIsolated, isReady), isReady);
}

function causeOf(facts: RunFacts, queue: QueueState, isIsolated: boolean, isReady: boolean): Cause {
  switch (facts.status) {
    case "completed":
    case "failed":
    case "cancelled":
      return ended(facts);
    case "running":
      return running(facts);
    case "paused":
      return waiting(facts);
    case "queued":
      if (isReady) return ready(facts, queue, isIsolated);
      // A run with several branches may wait for an answer and for the next try of a step. Its last entry shows one of them.
      return facts.waits.length > 0 && retryOf(facts) === null ? waiting(facts) : notYetDue(facts);
  }
}

function ended({ status, error, ended_at_ms }: RunFacts): Cause {
  const detail = error === null ? "" : ` with ${error.code}: ${error.message}`;
  const sentence = `The run has ${status === "cancelled" ? "been cancelled" : status}${detail}.`;
  return { reason: "ended", sentence, sinceMs: ended_at_ms };
}

function running(facts: RunFacts): Cause {
  const { owner, now_ms, beat_at_ms, silent_at_ms, deadline_at_ms, cancel_requested } = facts;
  const worker_id = owner === null ? "unknown" : workerOf(owner);
  const last_heard_at = isoTime(beat_at_ms);
  const blocked_by: Blocker[] = [{ kind: "worker", worker_id, last_heard_at }];
  if (silent_at_ms === null || silent_at_ms < now_ms) return silent(facts, worker_id, blocked_by);
  if (deadline_at_ms !== null && deadline_at_ms < now_ms) {
    const reclaimMs = deadline_at_ms + RECLAIM_MS;
    const next =
      reclaimMs > now_ms
        ? `is reclaimed at about ${isoTime(reclaimMs)}`
        : "is about to be reclaimed for another worker";
    const sentence = `Worker ${worker_id} is live, but the run has written nothing by its deadline; it ${next}.`;
    return { reason: "worker_overdue", sentence, blocked_by };
  }
  if (cancel_requested) {
    const sentence = `The run was cancelled; worker ${worker_id} is ending it.`;
    return { reason: "cancelling", sentence, blocked_by };
  }
  const held = heldRetry(facts);
  if (held) return held;
  const sentence = `Worker ${worker_id} executes the run; its last beat was at ${last_heard_at}.`;
  return { reason: "running", sentence };
}

const StepRetry = z.object({
  type: z.literal("step_retry"),
  orch_step_id: z.string(),
  attempt: z.number(),
  code: z.string(),
  error: z.string(),
  retry_in_seconds: z.number(),
});

/** The cause of a running run that keeps its worker's slot during a short wait for the next try of a step; null: it does not wait. */
function heldRetry({ held_retry, last_at_ms, now_ms }: RunFacts): Cause | null {
  if (held_retry === null || last_at_ms === null) return null;
  const parsed = StepRetry.safeParse(JSON.parse(held_retry));
  if (!parsed.success) return null;
  const { orch_step_id: step, attempt, code, error, retry_in_seconds } = parsed.data;
  const untilMs = last_at_ms + retry_in_seconds * 1_000;
  if (untilMs <= now_ms) return null;
  return retryWait({ step, tries: attempt, error: { code, message: error } }, untilMs);
}

/** The cause of a running run whose worker is silent: another worker of the lane, if there is one, takes the run over. */
function silent(facts: RunFacts, worker_id: string, blocked_by: Blocker[]): Cause {
  const { now_ms, beat_at_ms: sinceMs, silent_at_ms } = facts;
  const worker =
    sinceMs === null
      ? `Its worker ${worker_id} is no longer known`
      : `Its worker ${worker_id} is silent since ${isoTime(sinceMs)}`;
  if (facts.workers_of_lane === 0) {
    const sentence = `${worker}. ${noWorkerSentence(facts)}`;
    return { reason: "no_worker", sentence, blocked_by: [...blocked_by, workersOf(facts)], sinceMs };
  }
  const takeoverMs = silent_at_ms === null ? null : silent_at_ms - SILENT_AFTER_MS + TAKEOVER_MS;
  const next =
    takeoverMs !== null && takeoverMs > now_ms
      ? `another worker takes the run over at about ${isoTime(takeoverMs)}`
      : "another worker is about to take the run over";
  return { reason: "worker_silent", sentence: `${worker}; ${next}.`, blocked_by, sinceMs };
}

const AWAITED = {
  human: "a person to answer",
  child: "a run that it has started",
  turn: "the turn before it",
  budget: "its budget",
  timer: "its time",
} as const;

/** The cause of a run that waits for room to start a child; null: the run waits for something else. */
function waitsForRoom({ park: text, waits, wake_at_ms }: RunFacts): Cause | null {
  const park = text === null || waits.length > 0 ? null : ParkRecord.parse(JSON.parse(text));
  if (park?.reason !== "room") return null;
  const { orchestration_id, why, step: path } = park;
  const again = wake_at_ms === null ? "" : ` It tries again at ${isoTime(wake_at_ms)}.`;
  const sentence = `The run waits to start a run of ${orchestration_id} (step ${path}): ${why}.${again}`;
  return { reason: "waiting", sentence, blocked_by: [{ kind: "queue_room", orchestration_id, path }] };
}

function waiting(facts: RunFacts): Cause {
  const { now_ms, waits, wake_at_ms, last_at_ms } = facts;
  const room = waitsForRoom(facts);
  if (room !== null) return room;
  const sinceMs = waits[0]?.opened_at_ms ?? last_at_ms;
  const since = sinceMs === null ? "" : ` since ${isoTime(sinceMs)}`;
  // An escalation wakes the run before the deadline of its question.
  const deadlines = waits.flatMap(({ deadline_at_ms }) => deadline_at_ms ?? []);
  const untilMs = deadlines.length > 0 ? Math.min(...deadlines) : wake_at_ms;
  const isOver = untilMs !== null && untilMs <= now_ms;
  const over = isOver ? "; the wait is over, and a worker is about to claim it" : "";
  // A run that waits for its child without a time limit wakes once a day to look again: that time is no limit of the wait.
  const isUnlimited =
    deadlines.length === 0 &&
    waits.some(({ kind }) => kind === "child") &&
    untilMs !== null &&
    untilMs - now_ms > 3_600_000;
  const until =
    untilMs === null || isOver || isUnlimited ? over : `, until ${isoTime(untilMs)} at the latest`;
  const answers = waits.some(({ kind }) => kind === "human") ? " POST …/resume answers." : "";
  const how = answers + howToRaise(waits.find(({ kind }) => kind === "budget"));
  return {
    reason: "waiting",
    sentence: `The run waits for ${awaited(waits)}${since}${until}.${how}`,
    blocked_by: waits.length === 0 ? [{ kind: "answer", of: "timer" }] : waits.map(blockerOf),
    sinceMs,
  };
}

/** The waits in words: `a person to answer (steps a, b) and its time (step c)`. */
function awaited(waits: RunFacts["waits"]): string {
  const byKind = Map.groupBy(waits, ({ kind }) => kind);
  const parts = Array.from(byKind, ([kind, of]) => {
    const paths = of.map(pathOfWait).join(", ");
    return `${AWAITED[kind]} (${of.length === 1 ? "step" : "steps"} ${paths})`;
  });
  return parts.join(" and ") || AWAITED.timer;
}

function blockerOf(wait: RunFacts["waits"][number]): Blocker {
  if (wait.kind === "timer" && wait.deadline_at_ms !== null) {
    return { kind: "time", until: isoTime(wait.deadline_at_ms), path: pathOfWait(wait) };
  }
  const budget_id = budgetOf(wait);
  const of = { kind: "answer" as const, of: wait.kind, wait_id: wait.wait_id, path: pathOfWait(wait) };
  if (budget_id !== null) return { ...of, budget_id };
  return wait.child_run_id === null ? of : { ...of, run_id: wait.child_run_id };
}

/** The id of the budget that a wait waits for; null: it waits for something else. */
function budgetOf({ for_budget }: RunFacts["waits"][number]): string | null {
  return for_budget ? BudgetWait.parse(JSON.parse(for_budget)).budget_id : null;
}

function howToRaise(wait: RunFacts["waits"][number] | undefined): string {
  const budget = wait ? budgetOf(wait) : null;
  if (!wait?.why || budget === null) return "";
  const why = readPrompt(wait.why);
  return ` ${why.charAt(0).toUpperCase()}${why.slice(1)}. PUT /scale/budgets/${budget} with a higher limit_usd lets it go on.`;
}
