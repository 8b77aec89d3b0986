import type { ParkRecord } from "../../shared/contracts/journal-entry.ts";
import { stepPath } from "../../shared/journal/track.ts";
import type { Track } from "../../shared/journal/track.ts";
import { deadlineOf } from "../journal/run-log.ts";
import type { Append } from "../journal/run-log.ts";
import type { LongWait } from "./execution-state.ts";

/** A track that waits in memory. `isCommitted`: the journal has a park of it, so another one adds nothing. */
export type Waiting = {
  track: Track;
  wait: LongWait;
  isCommitted: boolean;
  /** When the wait began, by this process's monotonic clock. */
  sinceMs: number;
  timer: NodeJS.Timeout;
  goOn(): void;
};

/** Whether the journal has the wait already. */
export function isInJournal(track: Track, { park, waits }: LongWait): boolean {
  switch (park.reason) {
    case "answer":
    case "timer":
      return waits.length === 0;
    case "child":
      return track.waitId === park.wait_id && waits.length === 0;
    case "budget":
      return track.budgetWait === park.wait_id;
    case "retry":
      return track.retry?.tries === park.tries && track.retry.provider?.waits === park.provider?.waits;
    case "room":
      return false;
  }
}

/** Whether a signal may end the wait: its track then reads the answer or the end of its child, or tries to reserve its call again. */
export function mayBeAnswered({ wait }: Waiting): boolean {
  const { reason } = wait.park;
  return reason === "answer" || reason === "child" || reason === "budget";
}

/**
 * How many milliseconds of a wait are left. The time that has passed is subtracted from the wait. Added to the clock and read back, the
 * wait would not always be the same number: a question of 60 s would be paused for 60,001 ms.
 */
export function leftMs({ wait, sinceMs }: Waiting, nowMs: number): number {
  return Math.max(0, wait.afterMs - (nowMs - sinceMs));
}

/** The park of a track again, with what is left of its wait. Its charges, question and events are left out: they are committed. */
export function repeatedPark(waiting: Waiting, nowMs: number): LongWait {
  const { wait } = waiting;
  const wait_ms = leftMs(waiting, nowMs);
  return { ...wait, park: parkAgain(wait.park, wait_ms), waits: [], events: [], usage: [] };
}

function parkAgain(park: ParkRecord, wait_ms: number): ParkRecord {
  switch (park.reason) {
    case "answer":
    case "timer":
    case "child":
    case "room":
      return park;
    case "budget":
      return { ...park, cost_micro_usd: 0 };
    case "retry":
      return { ...park, cost_micro_usd: 0, wait_ms };
  }
}

/** The entry of the journal for a wait of a track, besides what concerns the whole run: status, wake-up and signals. */
export function parkEntry(track: Track, { park, waits, events, usage }: LongWait) {
  return {
    kind: "park",
    step_path: stepPath(track, park.step),
    visit: park.visit,
    output: JSON.stringify(park),
    events,
    usage,
    waits,
    deadline_ms: deadlineOf(null),
  } satisfies Partial<Append>;
}
