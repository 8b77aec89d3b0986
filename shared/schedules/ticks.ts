import { endUserOf } from "../contracts/budget.ts";
import { digestOf } from "../text/bytes.ts";
import { RunId, shardOf } from "../contracts/ids.ts";
import { RunTemplate } from "../contracts/schedule.ts";
import type { Schedule, TickRecord } from "../contracts/schedule.ts";
import type { NewRun } from "../contracts/run.ts";
import { scheduleSingleton } from "../contracts/singleton-key.ts";
import { nextTick, parseCron, previousTick } from "./cron.ts";
import type { CronSchedule } from "./cron.ts";

/** A tick that is this late was not started because no worker ran, or none had a database. */
const ON_TIME_MS = 60_000;

/** Ticks of one schedule that are not late: a minute has one, a passing hour may add one. */
const MAX_ON_TIME = 3;

type Timing = Pick<Schedule, "tenant_id" | "id" | "jitter_seconds">;

/** The time at which a tick is to be started: later by a part of the jitter that every process computes the same. */
export function startOf({ tenant_id, id, jitter_seconds }: Timing, tick: number): number {
  return tick + shardOf(`${tenant_id}/${id}/${tick}`, jitter_seconds * 1_000 + 1);
}

/** The ticks of a schedule to start now, those that were missed, and the next one (null: there is none). */
export type DueTicks = { start: number[]; missed: TickRecord[]; next: number | null };

/**
 * Decides which ticks of a schedule start at `nowMs`. The newest `catch_up` of those that are late are started, the oldest
 * first; the others are missed. A tick that was refused is tried until the next one is due.
 */
export function dueTicks(schedule: Schedule, nowMs: number): DueTicks {
  const first = schedule.next_tick_at_ms;
  if (first === null || startOf(schedule, first) > nowMs) return { start: [], missed: [], next: first };
  const cron = parseCron(schedule.cron, schedule.timezone);
  const recent = recentTicks(cron, first, nowMs, schedule.catch_up + MAX_ON_TIME);
  const isPending = (tick: number) => startOf(schedule, tick) > nowMs;
  const pending = recent.findIndex(isPending);
  const due = pending === -1 ? recent : recent.slice(0, pending);
  const next = recent[pending] ?? nextTick(cron, due.at(-1) ?? first);
  const missed: TickRecord[] = [];
  const isRefused = schedule.refused !== null;
  if (isRefused && due.length === 1 && due[0] === first) return { start: due, missed, next };
  if (isRefused) missed.push(missedTick(first, schedule.refused));
  const candidates = due.filter((tick) => !isRefused || tick !== first);
  const late = candidates.filter((tick) => nowMs - startOf(schedule, tick) > ON_TIME_MS);
  const caughtUp = schedule.catch_up === 0 ? [] : late.slice(-schedule.catch_up);
  const start = [...caughtUp, ...candidates.slice(late.length)];
  const firstMissed = isRefused ? nextTick(cron, first) : first;
  const lastMissed = previousTick(cron, start[0] ?? next ?? nowMs);
  const isMissed = firstMissed !== null && firstMissed < (start[0] ?? Infinity);
  if (isMissed && lastMissed !== null && firstMissed <= lastMissed) {
    missed.push(missedTick(firstMissed, "outage", lastMissed));
  }
  return { start, missed, next };
}

/** The newest ticks from `first` up to now, at most `count`, in their order. */
function recentTicks(cron: CronSchedule, first: number, nowMs: number, count: number): number[] {
  const ticks: number[] = [];
  for (
    let tick = previousTick(cron, nowMs + 1);
    tick !== null && tick >= first;
    tick = previousTick(cron, tick)
  ) {
    ticks.push(tick);
    if (ticks.length === count) break;
  }
  return ticks.toReversed();
}

function missedTick(tick: number, reason: string | null, until: number | null = null): TickRecord {
  return { tick_ms: tick, outcome: "missed", run_id: null, reason, until_ms: until === tick ? null : until };
}

/**
 * The run of a tick. Its id follows from tenant, schedule and tick, so that two workers that start a tick start one run.
 * `state.schedule` says which tick it is, unless the schedule's own state has that key.
 */
export async function runOfTick(
  schedule: Pick<Schedule, "tenant_id" | "id" | "orchestration_id" | "overlap" | "request">,
  tick: number,
): Promise<NewRun> {
  const { tenant_id, id, orchestration_id, overlap, request } = schedule;
  const digest = await digestOf("SHA-256", JSON.stringify([tenant_id, id, tick]));
  const run_id = RunId.parse(`run_${digest.slice(0, 12)}_${tick}`);
  const template = RunTemplate.parse(JSON.parse(request));
  const state = { schedule: { id, tick_at: new Date(tick).toISOString() }, ...template.state };
  return {
    run_id,
    tenant_id,
    orchestration_id,
    lane: "default",
    priority: template.priority,
    correlation_id: run_id,
    session_id: template.session_id,
    triggered_by: "cron",
    input: JSON.stringify({ message: template.message, state }),
    metadata: JSON.stringify(template.metadata),
    end_user: endUserOf(template.metadata),
    delay_ms: 0,
    singleton: { key: scheduleSingleton(id), policy: overlap },
    idempotency_key: null,
    request_hash: null,
    webhook_url: template.webhook_url,
    webhook_secret: null,
  };
}
