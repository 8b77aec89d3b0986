import { z } from "zod";
import { RunId } from "../../shared/contracts/ids.ts";
import { Lane, RunStatus } from "../../shared/contracts/run.ts";
import type { RunFacts } from "../../shared/store/runs/run-facts.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** One thing that keeps a run from progressing. */
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
  z.object({ kind: z.literal("turn"), turn_id: RunId }),
  z.object({ kind: z.literal("run"), run_id: z.string() }),
  /** `path`: the step that waits, `fanout[1].ask` in a branch or a loop. */
  z.object({ kind: z.literal("time"), until: z.iso.datetime(), path: z.string().optional() }),
  z.object({
    kind: z.literal("answer"),
    of: z.string(),
    wait_id: z.string().optional(),
    path: z.string().optional(),
    /** The run whose end is the answer. */
    run_id: z.string().optional(),
    /** Of a wait for a budget. */
    budget_id: z.string().optional(),
  }),
  /** The limit of calls of all workers to this model is used up, or the circuit breaker of its provider is open. */
  z.object({ kind: z.literal("provider"), model: z.string(), until: z.iso.datetime() }),
  /** The start rate of the lane: all workers together start at most this many of its runs in a second. */
  z.object({ kind: z.literal("lane_rate"), lane: Lane, starts_per_second: z.number() }),
  /** The tenant's queue has no room for a run that this one is to start. */
  z.object({ kind: z.literal("queue_room"), orchestration_id: z.string(), path: z.string() }),
]);
export type Blocker = z.infer<typeof Blocker>;

/** Why a run does not progress, as clients see it. */
export const Diagnosis = z
  .object({
    state: RunStatus,
    reason: z.enum([
      "ended",
      "running",
      "cancelling",
      "worker_silent",
      "worker_overdue",
      "earlier_turn",
      "delayed",
      "singleton",
      "retry_wait",
      "provider_limit",
      "provider_open",
      "waiting",
      "tenant_disabled",
      "no_worker",
      "tenant_limit",
      "queue_away",
      "behind_others",
      "workers_busy",
      "lane_rate",
      "starting",
    ]),
    /** The run's place among the ready runs of its tenant and lane; 1 is next. */
    position: z.number().int().nullable(),
    blocked_by: z.array(Blocker),
    since: z.iso.datetime().nullable(),
    next_wake_at: z.iso.datetime().nullable(),
    sentence: z.string(),
  })
  .meta({ id: "Why" });
export type Diagnosis = z.infer<typeof Diagnosis>;

/**
 * The part of a diagnosis that depends on the cause. `sinceMs` absent: since the run's last entry. `wakesAtMs`: the end of a short
 * wait during which the run keeps its worker's slot.
 */
export type Cause = Pick<Diagnosis, "reason" | "sentence"> & {
  blocked_by?: Blocker[];
  sinceMs?: number | null;
  wakesAtMs?: number;
};

/** The state of the queue for the run's shard. */
export type QueueState = "up" | "away" | "rebuilding";

/** The live workers of the run's lane, and their slots. */
export function workersOf({ lane, workers_of_lane: online, slots, slots_taken: taken }: RunFacts): Blocker {
  return { kind: "workers", lane, online, slots, taken };
}

export function noWorkerSentence({ lane, workers_online: online }: RunFacts): string {
  if (online === 0) return "No worker is live, for any lane: start one, or see /api/v2/workers.";
  const others =
    online === 1 ? "the one live worker serves other lanes" : `the ${online} live workers serve other lanes`;
  return (
    `No live worker serves lane ${lane}; ${others}. ` +
    `Start a worker with ${lane} in its WORKER_LANES, or see /api/v2/workers.`
  );
}

/** The diagnosis of a run with this cause. `isReady`: the run may be claimed now. */
export function diagnosisOf(facts: RunFacts, cause: Cause, isReady: boolean): Diagnosis {
  const { reason, sentence, blocked_by = [], sinceMs = facts.last_at_ms, wakesAtMs = null } = cause;
  const waits = facts.status === "queued" || facts.status === "paused";
  return {
    state: facts.status,
    reason,
    position: isReady ? facts.ahead + 1 : null,
    blocked_by,
    since: isoTime(sinceMs),
    next_wake_at: isoTime(waits && facts.key_holder === null ? facts.wake_at_ms : wakesAtMs),
    sentence,
  };
}
