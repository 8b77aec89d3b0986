import { z } from "zod";
import { workerOf } from "../../shared/contracts/ids.ts";
import { BudgetWait } from "../../shared/contracts/budget.ts";
import { pathOfWait } from "../../shared/journal/track.ts";
import { readPrompt } from "../../shared/store/runs/waits.ts";
import type { RunFacts } from "../../shared/store/runs/run-facts.ts";
import { RECLAIM_MS, SILENT_AFTER_MS, TAKEOVER_MS } from "../../shared/timing.ts";
import { isoTime } from "../http/time.ts";
import { diagnosisOf, noWorkerSentence, workersOf } from "./diagnosis-view.ts";
import type { Blocker, Cause, Diagnosis, QueueState } from "./diagnosis-view.ts";
import { notYetDue, ready, retryWait } from "./explain-queued.ts";

/**
 * Why a run does not progress, from what Postgres and the queue know.
 * @param isolation false: the tenants' limits are off
 */
export function explain(facts: RunFacts, queue: QueueState, isolation: boolean): Diagnosis {
  const isReady = facts.status === "queued" && (facts.wake_at_ms ?? 0) <= facts.now_ms;
  return diagnosisOf(facts, causeOf(facts, queue, isolation, isReady), isReady);
}

function causeOf(facts: RunFacts, queue: QueueState, isolation: boolean, isReady: boolean): Cause {
  switch (facts.status) {
    case "completed":
    case "failed":
    case "cancelled":
      return ended(facts);
    case "running":
      return running(facts);
    case "paused":
      return paused(facts);
    case "queued":
      return isReady ? ready(facts, queue, isolation) : notYetDue(facts);
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

/** A short wait for the next try of a step keeps the worker's slot: to the client it is a wait all the same. */
function heldRetry({ held_retry, last_at_ms, now_ms }: RunFacts): Cause | null {
  if (held_retry === null || last_at_ms === null) return null;
  const parsed = StepRetry.safeParse(JSON.parse(held_retry));
  if (!parsed.success) return null;
  const { orch_step_id: step, attempt, code, error, retry_in_seconds } = parsed.data;
  const untilMs = last_at_ms + retry_in_seconds * 1_000;
  if (untilMs <= now_ms) return null;
  return retryWait({ step, tries: attempt, error: { code, message: error } }, untilMs);
}

/** The worker of a running run is silent: another worker of the lane takes the run over, if there is one. */
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

function paused(facts: RunFacts): Cause {
  const { now_ms, waits, wake_at_ms, last_at_ms } = facts;
  const of = waits[0]?.kind ?? "timer";
  const sinceMs = waits[0]?.opened_at_ms ?? last_at_ms;
  const since = sinceMs === null ? "" : ` since ${isoTime(sinceMs)}`;
  const isOver = wake_at_ms !== null && wake_at_ms <= now_ms;
  const over = isOver ? "; the wait is over, and a worker is about to claim it" : "";
  const until = wake_at_ms === null || isOver ? over : `, until ${isoTime(wake_at_ms)} at the latest`;
  const paths = waits.map(pathOfWait);
  const step = paths.length === 0 ? "" : ` (${paths.length === 1 ? "step" : "steps"} ${paths.join(", ")})`;
  const how = of === "human" ? " POST …/resume answers." : of === "budget" ? howToRaise(waits[0]) : "";
  return {
    reason: "waiting",
    sentence: `The run waits for ${AWAITED[of]}${step}${since}${until}.${how}`,
    blocked_by: waits.length === 0 ? [{ kind: "answer", of }] : waits.map(blockerOf),
    sinceMs,
  };
}

function blockerOf(wait: RunFacts["waits"][number]): Blocker {
  const budget_id = budgetOf(wait);
  const blocker = { kind: "answer" as const, of: wait.kind, wait_id: wait.wait_id, path: pathOfWait(wait) };
  return budget_id === null ? blocker : { ...blocker, budget_id };
}

/** The budget that a wait is for; null: it is for something else. */
function budgetOf({ for_budget }: RunFacts["waits"][number]): string | null {
  return for_budget ? BudgetWait.parse(JSON.parse(for_budget)).budget_id : null;
}

function howToRaise(wait: RunFacts["waits"][number] | undefined): string {
  const budget = wait ? budgetOf(wait) : null;
  if (!wait?.why || budget === null) return "";
  const why = readPrompt(wait.why);
  return ` ${why.charAt(0).toUpperCase()}${why.slice(1)}. PUT /scale/budgets/${budget} with a higher limit_usd lets it go on.`;
}
