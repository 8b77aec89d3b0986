import { z } from "zod";
import { workerOf } from "../../shared/contracts/ids.ts";
import { ParkRecord } from "../../shared/contracts/journal-entry.ts";
import { Lane, RunStatus } from "../../shared/contracts/run.ts";
import type { RunFacts } from "../../shared/store/runs/run-facts.ts";

/** A worker that beats is heard of every 5 s; after so long it may be taken for silent, and its runs taken over. */
const SILENT_MS = 12_000;
/** From a worker's last beat to another's claim: a lease of 15 s lapses, and somebody asks. */
const TAKEOVER_MS = 20_000;
/** An overdue run is taken back when it was seen standing still for 30 s, by a pass every 5 s. */
const TAKE_BACK_MS = 35_000;

/** What a run waits for. */
const Blocker = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("tenant_limit"), running: z.number().int(), limit: z.number().int() }),
  z.object({ kind: z.literal("runs_ahead"), count: z.number().int() }),
  z.object({
    kind: z.literal("workers"),
    lane: Lane,
    online: z.number().int(),
    slots: z.number().int(),
    taken: z.number().int(),
  }),
  z.object({ kind: z.literal("worker"), worker_id: z.string(), last_heard_at: z.iso.datetime().nullable() }),
  z.object({ kind: z.literal("queue"), state: z.enum(["away", "rebuilding"]) }),
  z.object({ kind: z.literal("time"), until: z.iso.datetime() }),
  z.object({ kind: z.literal("answer"), of: z.string() }),
]);
type Blocker = z.infer<typeof Blocker>;

export const Why = z
  .object({
    state: RunStatus,
    reason: z.enum([
      "ended",
      "running",
      "cancelling",
      "worker_silent",
      "worker_overdue",
      "delayed",
      "retry_wait",
      "waiting",
      "tenant_disabled",
      "no_worker",
      "tenant_limit",
      "queue_away",
      "behind_others",
      "workers_busy",
      "starting",
    ]),
    /** Its place among the runs of its tenant and lane that are ready; 1 is next. */
    position: z.number().int().nullable(),
    blocked_by: z.array(Blocker),
    since: z.iso.datetime().nullable(),
    next_wake_at: z.iso.datetime().nullable(),
    sentence: z.string(),
  })
  .meta({ id: "Why" });
export type Why = z.infer<typeof Why>;

/** How the queue stands, for the run's shard. */
export type QueueState = "up" | "away" | "rebuilding";

type Cause = Pick<Why, "reason" | "sentence"> & { blocked_by?: Blocker[]; sinceMs?: number | null };

/** Why a run does not move, out of what Postgres and the queue say. `isolation` false: the tenants' limits are off. */
export function explain(facts: RunFacts, queue: QueueState, isolation: boolean): Why {
  const ready = facts.status === "queued" && (facts.wake_at_ms ?? 0) <= facts.now_ms;
  const waits = facts.status === "queued" || facts.status === "paused";
  const {
    reason,
    sentence,
    blocked_by = [],
    sinceMs = facts.last_at_ms,
  } = causeOf(facts, queue, isolation, ready);
  return {
    state: facts.status,
    reason,
    position: ready ? facts.ahead + 1 : null,
    blocked_by,
    since: sinceMs === null ? null : iso(sinceMs),
    next_wake_at: waits && facts.wake_at_ms !== null ? iso(facts.wake_at_ms) : null,
    sentence,
  };
}

function causeOf(facts: RunFacts, queue: QueueState, isolation: boolean, ready: boolean): Cause {
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
      return ready ? queued(facts, queue, isolation) : notYetDue(facts);
  }
}

function ended({ status, error, ended_at_ms }: RunFacts): Cause {
  const detail = error === null ? "" : ` with ${error.code}: ${error.message}`;
  const sentence = `The run has ${status === "cancelled" ? "been cancelled" : status}${detail}.`;
  return { reason: "ended", sentence, sinceMs: ended_at_ms };
}

function running(facts: RunFacts): Cause {
  const { owner, now_ms, beat_at_ms, deadline_at_ms, cancel_requested } = facts;
  const worker_id = owner === null ? "unknown" : workerOf(owner);
  const last_heard_at = beat_at_ms === null ? null : iso(beat_at_ms);
  const blocked_by: Blocker[] = [{ kind: "worker", worker_id, last_heard_at }];
  if (beat_at_ms === null || now_ms - beat_at_ms > SILENT_MS) return silent(facts, worker_id, blocked_by);
  if (deadline_at_ms !== null && deadline_at_ms < now_ms) {
    const backAt = deadline_at_ms + TAKE_BACK_MS;
    const end = backAt > now_ms ? `is taken back at about ${iso(backAt)}` : "is about to be taken back";
    const sentence = `Worker ${worker_id} lives, but the run has shown nothing in its time; it ${end}.`;
    return { reason: "worker_overdue", sentence, blocked_by };
  }
  if (cancel_requested) {
    return {
      reason: "cancelling",
      sentence: `The run was cancelled; worker ${worker_id} is ending it.`,
      blocked_by,
    };
  }
  return {
    reason: "running",
    sentence: `The run is executed by worker ${worker_id}, last heard of at ${last_heard_at}.`,
  };
}

/** The worker of a running run is not heard of: another takes the run over, if there is one. */
function silent(facts: RunFacts, worker_id: string, blocked_by: Blocker[]): Cause {
  const { now_ms, beat_at_ms: sinceMs } = facts;
  const gone = `Its worker ${worker_id} is ${sinceMs === null ? "not known any more" : `silent since ${iso(sinceMs)}`}`;
  if (facts.workers_of_lane === 0) {
    const sentence = `${gone}. ${noWorker(facts)}`;
    return { reason: "no_worker", sentence, blocked_by: [...blocked_by, workersOf(facts)], sinceMs };
  }
  const overAt = sinceMs === null ? null : sinceMs + TAKEOVER_MS;
  const end =
    overAt !== null && overAt > now_ms
      ? `another takes the run over at about ${iso(overAt)}`
      : "another is about to take the run over";
  return { reason: "worker_silent", sentence: `${gone}; ${end}.`, blocked_by, sinceMs };
}

const ASKED = {
  human: "a person to answer",
  child: "a run that it has started",
  turn: "the turn before it",
  budget: "its budget",
  timer: "its time",
} as const;

function paused(facts: RunFacts): Cause {
  const { now_ms, wait_kind, wait_step, wait_opened_at_ms, wake_at_ms, last_at_ms } = facts;
  const of = wait_kind ?? "timer";
  const sinceMs = wait_opened_at_ms ?? last_at_ms;
  const since = sinceMs === null ? "" : ` since ${iso(sinceMs)}`;
  const isOver = wake_at_ms !== null && wake_at_ms <= now_ms;
  const over = isOver ? "; its wait is over, and a worker is to take it" : "";
  const until = wake_at_ms === null || isOver ? over : `, until ${iso(wake_at_ms)} at the latest`;
  const step = wait_step === null ? "" : ` (step ${wait_step})`;
  const how = of === "human" ? " POST …/resume answers." : "";
  return {
    reason: "waiting",
    sentence: `The run waits for ${ASKED[of]}${step}${since}${until}.${how}`,
    blocked_by: [{ kind: "answer", of }],
    sinceMs,
  };
}

function notYetDue(facts: RunFacts): Cause {
  const until = iso(facts.wake_at_ms ?? facts.now_ms);
  const blocked_by: Blocker[] = [{ kind: "time", until }];
  const park = facts.park === null ? null : ParkRecord.parse(JSON.parse(facts.park));
  if (park?.reason !== "retry") {
    return {
      reason: "delayed",
      sentence: `The run is to start at ${until}.`,
      blocked_by,
      sinceMs: facts.queued_at_ms,
    };
  }
  const { step, tries, error } = park;
  const sentence = `Step ${step} failed (try ${tries}, ${error.code}: ${error.message}) and is tried again at ${until}.`;
  return { reason: "retry_wait", sentence, blocked_by };
}

/** What keeps a ready run from being claimed: the first of these that holds. */
function queued(facts: RunFacts, queue: QueueState, isolation: boolean): Cause {
  const { tenant_running: n, max_concurrent_runs: limit, ahead, tenant_id } = facts;
  const { lane, workers_of_lane: online, slots, slots_taken: taken } = facts;
  const sinceMs = facts.queued_at_ms;
  const workers = workersOf(facts);
  const before: Blocker[] = ahead > 0 ? [{ kind: "runs_ahead", count: ahead }] : [];
  const tenantLimit: Blocker = { kind: "tenant_limit", running: n, limit };
  if (isolation && limit === 0) {
    const sentence = `Tenant ${tenant_id} may not run anything: its max_concurrent_runs is 0.`;
    return { reason: "tenant_disabled", sentence, blocked_by: [tenantLimit], sinceMs };
  }
  if (online === 0) {
    return { reason: "no_worker", sentence: noWorker(facts), blocked_by: [workers, ...before], sinceMs };
  }
  if (isolation && n >= limit) {
    const sentence =
      `Tenant ${tenant_id} has ${n} runs running, which is its limit of ${limit}; ${ahead} of its runs are before ` +
      "this one. It starts when they have ended.";
    return { reason: "tenant_limit", sentence, blocked_by: [tenantLimit, ...before], sinceMs };
  }
  if (queue !== "up") {
    const sentence =
      queue === "away"
        ? "The queue cannot be reached; workers take runs straight from the database meanwhile, once a second."
        : "The queue is being rebuilt from the database; the run is shown to it within seconds.";
    return {
      reason: "queue_away",
      sentence,
      blocked_by: [{ kind: "queue", state: queue }, ...before],
      sinceMs,
    };
  }
  if (slots > 0 && taken >= slots) {
    const sentence = `All ${slots} slots of the ${online} live workers for lane ${lane} are taken; ${ahead} runs of its tenant are before this one.`;
    return { reason: "workers_busy", sentence, blocked_by: [workers, ...before], sinceMs };
  }
  if (ahead > 0) {
    const sentence = `${ahead} runs of its tenant are before this one.`;
    return { reason: "behind_others", sentence, blocked_by: before, sinceMs };
  }
  return { reason: "starting", sentence: "The run is next, and a worker is about to take it.", sinceMs };
}

function workersOf({ lane, workers_of_lane: online, slots, slots_taken: taken }: RunFacts): Blocker {
  return { kind: "workers", lane, online, slots, taken };
}

function noWorker({ lane, workers_online: others }: RunFacts): string {
  const look = "or look at /api/v2/workers.";
  return others === 0
    ? `No live worker for lane ${lane}, nor for any other: start one, ${look}`
    : `No live worker for lane ${lane}: the ${others} that live serve others. Start one with ${lane} in its WORKER_LANES, ${look}`;
}

function iso(ms: number): string {
  return new Date(ms).toISOString();
}
