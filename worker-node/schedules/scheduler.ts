import type { TenantId } from "../../shared/contracts/ids.ts";
import type { NewRun } from "../../shared/contracts/run.ts";
import type { Schedule, TickRecord } from "../../shared/contracts/schedule.ts";
import { queueShardOf } from "../../shared/keys.ts";
import { log, messageOf } from "../../shared/log.ts";
import { jobOf } from "../../shared/queue/job.ts";
import type { Queue } from "../../shared/queue/queue.ts";
import type { QueueVerdict } from "../../shared/queue/verdict.ts";
import { dueTicks, runOfTick, startOf } from "../../shared/schedules/ticks.ts";
import type { StateStore } from "../../shared/store/state.ts";
import type { FiredSchedule } from "../../shared/store/schedules/fire-schedules.ts";
import { inSpan } from "../../shared/tracing/span.ts";
import type { Tracer } from "../../shared/tracing/span.ts";

/** The longest time between two passes: within it a schedule is found that was saved a moment ago. */
const PASS_MS = 1_000;
/** A tick that was refused a run is tried again after this time. */
const REFUSED_MS = 2_000;
/** Schedules that one pass claims at once. */
const PAGE = 100;

type SchedulerDeps = {
  store: StateStore;
  queue: Queue;
  maxQueueDepth(): number;
  tracer?: () => Tracer | null;
};

/**
 * Starts the runs of schedules (docs/protocol.md 5.18). Every worker has one: a claim in Postgres gives each due schedule to
 * one of them, so no tick waits for a failed worker's lock to lapse. It sleeps until the next tick, one second at most, so a
 * tick starts within a second. The edge's cron could not do it: it runs once a minute.
 */
export class Scheduler {
  readonly #deps: SchedulerDeps;
  /** Shards whose counts are too low: a run was accepted there without a reservation. */
  readonly #miscounted = new Set<number>();
  #timer: NodeJS.Timeout | undefined;
  #passing: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(deps: SchedulerDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#passing = this.#loop();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#timer);
    await this.#passing;
  }

  async #loop(): Promise<void> {
    const sleepMs = await this.pass().catch((error: unknown) => {
      log.warn("scheduler.pass_failed", { message: messageOf(error) });
      return PASS_MS;
    });
    if (this.#isStopped) return;
    this.#timer = setTimeout(() => {
      this.#passing = this.#loop();
    }, sleepMs);
  }

  /** Starts the ticks that are due. @returns the time until the next pass, in milliseconds */
  async pass(): Promise<number> {
    const { schedules, now_ms, next_ms } = await this.#deps.store.claimSchedules(PAGE);
    // One after the other within a schedule, whose ticks have an order; schedules do not wait for each other.
    const settled = await Promise.allSettled(schedules.map((schedule) => this.#fire(schedule, now_ms)));
    const fired = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    for (const one of settled) {
      // The claim lapses, and the schedule is tried again.
      if (one.status === "rejected")
        log.warn("scheduler.schedule_failed", { message: messageOf(one.reason) });
    }
    if (fired.length > 0) await this.#deps.store.saveFired(fired);
    if (schedules.length === PAGE) return 0;
    return Math.max(0, Math.min(PASS_MS, next_ms ?? PASS_MS));
  }

  async #fire(schedule: Schedule, nowMs: number): Promise<FiredSchedule> {
    const { tenant_id, id, version, next_tick_at_ms: claimed_tick_ms } = schedule;
    const of = { tenant_id, id, version, claimed_tick_ms };
    const { start, missed, next } = dueTicks(schedule, nowMs);
    const ticks: TickRecord[] = [...missed];
    for (const tick of start) {
      const run = await runOfTick(schedule, tick);
      const outcome = await this.#startInSpan(
        claimed_tick_ms === null
          ? run
          : { ...run, tick: { schedule: id, version, next_tick_ms: claimed_tick_ms } },
      );
      if (outcome.is === "refused") {
        log.info("schedule.tick_refused", { tenant: tenant_id, schedule: id, reason: outcome.reason });
        const retry = { next_tick_ms: tick, try_ms: nowMs + REFUSED_MS, refused: outcome.reason };
        return { ...of, ticks, ...retry };
      }
      // The save leaves the schedule as the client wants it.
      if (outcome.is === "changed") return { ...of, ticks, next_tick_ms: tick, try_ms: nowMs, refused: null };
      const { run_id, reason } = outcome;
      ticks.push({ tick_ms: tick, outcome: outcome.is, run_id, reason, until_ms: null });
    }
    if (missed.length > 0) log.warn("schedule.ticks_missed", { tenant: tenant_id, schedule: id });
    const try_ms = next === null ? null : startOf(schedule, next);
    return { ...of, ticks, next_tick_ms: next, try_ms, refused: null };
  }

  /** The trace of the run begins with its tick. */
  #startInSpan(run: NewRun): Promise<Outcome> {
    const { run_id, tenant_id, orchestration_id } = run;
    const attributes = {
      "synapse.run.id": run_id,
      "synapse.tenant.id": tenant_id,
      "synapse.orchestration.id": orchestration_id,
    };
    const options = { kind: "producer" as const, parent: null, attributes };
    return inSpan(this.#deps.tracer?.() ?? null, "schedule tick", options, (span) =>
      this.#start({ ...run, traceparent: span?.traceparent ?? null }),
    );
  }

  /** Passes a tick's run through the admission of all runs (docs/protocol.md 5.1), and enqueues it. */
  async #start(run: NewRun): Promise<Outcome> {
    const { store, queue } = this.#deps;
    const verdict = await this.#admit(run);
    const refusal = refusalOf(verdict);
    if (refusal !== null) return { is: "refused", reason: refusal };
    const isCounted = verdict?.ok === true;
    const isReserved = isCounted || verdict?.reason === "rebuilding";
    const shard = queueShardOf(run.tenant_id, queue.shards);
    if (!isReserved) this.#miscounted.add(shard);
    const result = await store.startTick(run, isCounted ? "queue" : "postgres");
    if (result.is !== "started") {
      if (isReserved) await this.#updateQueue(queue.giveBack([{ run: run.run_id, tenant: run.tenant_id }]));
      if (result.is === "refused" || result.is === "changed") return result;
      if (result.is === "missed") return { is: "missed", run_id: null, reason: result.reason };
      return { is: "skipped", run_id: result.run_id, reason: "overlap" };
    }
    const job = { ...jobOf({ ...run, queued_at_ms: result.queued_at_ms }), delayMs: result.delay_ms };
    await this.#updateQueue(queue.enqueue([{ ...job, status: "queued" }]));
    if (run.singleton?.policy === "cancel_previous" && result.delay_ms > 0) await store.repairSingletons();
    return { is: "started", run_id: run.run_id, reason: null };
  }

  /** Null: the queue could not be reached. */
  async #admit({ run_id: run, tenant_id: tenant }: NewRun): Promise<QueueVerdict | null> {
    const { queue, maxQueueDepth } = this.#deps;
    try {
      await this.#invalidateCounts(tenant);
      return (await queue.admit([{ run, tenant }], Math.ceil(maxQueueDepth() / queue.shards)))[0] ?? null;
    } catch {
      return null;
    }
  }

  async #invalidateCounts(tenant: TenantId): Promise<void> {
    const shard = queueShardOf(tenant, this.#deps.queue.shards);
    if (!this.#miscounted.has(shard)) return;
    await this.#deps.queue.invalidateCounts(shard);
    this.#miscounted.delete(shard);
  }

  /** Waits for a call to the queue, which may fail: Postgres has decided on the run already, and the reconciler repairs the queue. */
  async #updateQueue(update: Promise<unknown>): Promise<void> {
    await update.catch((error: unknown) =>
      log.info("schedule.queue_not_updated", { message: messageOf(error) }),
    );
  }
}

type Outcome =
  | { is: "refused"; reason: string }
  | { is: "changed" }
  | { is: "started" | "skipped" | "missed"; run_id: string | null; reason: string | null };

/** Why the queue refuses a run; null: it does not, or Postgres has to count. */
function refusalOf(verdict: QueueVerdict | null): string | null {
  if (verdict === null || verdict.ok) return null;
  switch (verdict.reason) {
    case "rate":
    case "minute":
      return "rate_limited";
    case "queued":
      return "queue_full";
    case "depth":
      return "capacity";
    case "disabled":
      return "tenant_disabled";
    case "unknown":
    case "cold":
    case "rebuilding":
      return null;
  }
}
