import { ParkRecord } from "../../shared/contracts/journal-entry.ts";
import type { RetryPark } from "../../shared/contracts/journal-entry.ts";
import type { RunFacts } from "../../shared/store/runs/run-facts.ts";
import { isoTime } from "../../shared/text/iso-time.ts";
import { noWorkerSentence, workersOf } from "./diagnosis-view.ts";
import type { Blocker, Cause, QueueState } from "./diagnosis-view.ts";

/** A worker with a free slot claims a ready run within this time, also when a wake-up message was lost. */
const IDLE_CLAIM_MS = 3_000;

/** Why a queued run is not due: another run or turn is before it, or its start or next try is later. */
export function notYetDue(facts: RunFacts): Cause {
  if (facts.key_holder !== null) return behindHolder(facts.key_holder, facts.queued_at_ms);
  const until = isoTime(facts.wake_at_ms ?? facts.now_ms);
  const blocked_by: Blocker[] = [{ kind: "time", until }];
  const retry = retryOf(facts);
  if (retry === null && facts.turn_before !== null) {
    const sentence = `The turn waits for turn ${facts.turn_before} of its session.`;
    const turn = { kind: "turn" as const, turn_id: facts.turn_before };
    return { reason: "earlier_turn", sentence, blocked_by: [turn], sinceMs: facts.queued_at_ms };
  }
  if (retry === null) {
    const sentence = `The run starts at ${until}.`;
    return { reason: "delayed", sentence, blocked_by, sinceMs: facts.queued_at_ms };
  }
  return providerWait(retry, until) ?? retryWait(retry, facts.wake_at_ms ?? facts.now_ms);
}

/** The cause of a run whose model call waits for its provider; null: the run waits for the next try of a failed step. */
function providerWait({ step, error, provider }: RetryPark, until: string): Cause | null {
  if (provider === undefined) return null;
  return {
    reason: error.code === "provider_open" ? "provider_open" : "provider_limit",
    sentence: `Step ${step} waits to call ${error.message}. It asks again at ${until}.`,
    blocked_by: [{ kind: "provider", model: provider.model, until }],
  };
}

/** The record of a park that waits for the next try of a step; null: the run has parked for another reason, or not at all. */
export function retryOf({ park }: Pick<RunFacts, "park">): RetryPark | null {
  const record = park === null ? null : ParkRecord.parse(JSON.parse(park));
  return record?.reason === "retry" ? record : null;
}

/** The cause of a run whose singleton key another run has. */
function behindHolder(run_id: string, sinceMs: number): Cause {
  const sentence = `The run starts when ${run_id} has ended, which has the same singleton key.`;
  return { reason: "singleton", sentence, blocked_by: [{ kind: "run", run_id }], sinceMs };
}

/** The cause of a run whose failed step is tried again later. */
export function retryWait(
  { step, tries, error }: { step: string; tries: number; error: { code: string; message: string } },
  untilMs: number,
): Cause {
  const until = isoTime(untilMs);
  const sentence = `Step ${step} failed (try ${tries}, ${error.code}: ${error.message}) and is tried again at ${until}.`;
  return { reason: "retry_wait", sentence, blocked_by: [{ kind: "time", until }], wakesAtMs: untilMs };
}

/**
 * The cause that keeps a ready run from being claimed: the first of these that applies.
 * @param isIsolated false: the tenants' limits are off
 */
export function ready(facts: RunFacts, queue: QueueState, isIsolated: boolean): Cause {
  const { ahead } = facts;
  const runsAhead: Blocker[] = ahead > 0 ? [{ kind: "runs_ahead", count: ahead }] : [];
  const cause = tenantDisabled(facts, isIsolated) ??
    noWorker(facts, runsAhead) ??
    (isIsolated ? tenantLimit(facts, runsAhead) : null) ??
    queueNotUp(queue, runsAhead) ??
    workersBusy(facts, runsAhead) ??
    laneRate(facts, runsAhead) ??
    behindOthers(facts, runsAhead) ?? {
      reason: "starting",
      sentence: "The run is next, and a worker is about to claim it.",
    };
  return { ...cause, sinceMs: facts.queued_at_ms };
}

/** Also without tenant isolation a disabled tenant starts no runs; a limit of 0 counts with isolation only. */
function tenantDisabled(facts: RunFacts, isIsolated: boolean): Cause | null {
  const { tenant_id, tenant_disabled, tenant_running: running, max_concurrent_runs: limit } = facts;
  if (!tenant_disabled && (limit > 0 || !isIsolated)) return null;
  const sentence = tenant_disabled
    ? `Tenant ${tenant_id} is disabled: its queued runs start when it is enabled again.`
    : `Tenant ${tenant_id} may not run anything: its max_concurrent_runs is 0.`;
  const blocked_by: Blocker[] = [{ kind: "tenant_limit", running, limit }];
  return { reason: "tenant_disabled", sentence, blocked_by };
}

function noWorker(facts: RunFacts, runsAhead: Blocker[]): Cause | null {
  if (facts.workers_of_lane > 0) return null;
  const sentence = noWorkerSentence(facts);
  return { reason: "no_worker", sentence, blocked_by: [workersOf(facts), ...runsAhead] };
}

function tenantLimit(facts: RunFacts, runsAhead: Blocker[]): Cause | null {
  const { tenant_id, tenant_running: running, max_concurrent_runs: limit, ahead } = facts;
  if (running < limit) return null;
  const sentence =
    `Tenant ${tenant_id} has ${running} runs running, and its limit is ${limit}; ${ahead} of its runs are ahead of ` +
    "this run. It starts when they have ended.";
  return {
    reason: "tenant_limit",
    sentence,
    blocked_by: [{ kind: "tenant_limit", running, limit }, ...runsAhead],
  };
}

function queueNotUp(queue: QueueState, runsAhead: Blocker[]): Cause | null {
  if (queue === "up") return null;
  const sentence =
    queue === "away"
      ? "The queue cannot be reached; until it can, workers claim runs directly from the database, once a second."
      : "The queue is being rebuilt from the database; it gets this run within seconds.";
  return { reason: "queue_away", sentence, blocked_by: [{ kind: "queue", state: queue }, ...runsAhead] };
}

function workersBusy(facts: RunFacts, runsAhead: Blocker[]): Cause | null {
  const { lane, workers_of_lane: online, slots, slots_taken: taken, ahead } = facts;
  if (slots === 0 || taken < slots) return null;
  const sentence =
    `All ${slots} slots of the ${online} live workers for lane ${lane} are taken; ` +
    `${ahead} runs of its tenant are ahead of this run.`;
  return { reason: "workers_busy", sentence, blocked_by: [workersOf(facts), ...runsAhead] };
}

/**
 * The start rate of the run's lane. It is the cause when a free slot did not lead to a claim: other runs are ahead, or the run has
 * been ready for longer than a free worker takes to claim it.
 */
function laneRate(facts: RunFacts, runsAhead: Blocker[]): Cause | null {
  const { lane, lane_rate: starts_per_second, ahead, now_ms, wake_at_ms } = facts;
  if (starts_per_second === null) return null;
  if (ahead === 0 && now_ms - (wake_at_ms ?? now_ms) < IDLE_CLAIM_MS) return null;
  const sentence =
    `Lane ${lane} starts at most ${starts_per_second} runs a second, of all tenants and in all workers together; ` +
    `${ahead} runs of its tenant are ahead of this run.`;
  return {
    reason: "lane_rate",
    sentence,
    blocked_by: [{ kind: "lane_rate", lane, starts_per_second }, ...runsAhead],
  };
}

function behindOthers({ ahead }: RunFacts, runsAhead: Blocker[]): Cause | null {
  if (ahead === 0) return null;
  const sentence = `${ahead} runs of its tenant are ahead of this run.`;
  return { reason: "behind_others", sentence, blocked_by: runsAhead };
}
