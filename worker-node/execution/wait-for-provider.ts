import { placeOf } from "../../shared/journal/track.ts";
import { inTrack, namesOf } from "../engine/events.ts";
import { costOf } from "../engine/machine.ts";
import type { ProviderWait } from "../models/provider-wait.ts";
import type { LongWait, PaidVisit } from "./execution-state.ts";
import type { Tries } from "./failed-try.ts";

/**
 * The wait of a track whose model call may not begin yet. The try does not count as failed, and its call keeps its effect key. The
 * track waits as it does before a retry, without the run's slot.
 */
export function waitForProvider(
  { track, step, visit }: PaidVisit,
  { count, refused: answered, firstFailedAt, unchargedUsage: usage }: Tries,
  { code, model, message, afterMs }: ProviderWait,
): LongWait {
  const retry_in_seconds = Math.round(afterMs / 10) / 100;
  return {
    is: "wait",
    status: "queued",
    afterMs,
    park: {
      ...placeOf(track),
      step: step.id,
      visit,
      reason: "retry",
      tries: count - 1,
      answered,
      error: { code, message },
      cost_micro_usd: costOf(usage),
      // Without a failed try this is the time since which the track waits.
      first_failed_at: firstFailedAt ?? new Date().toISOString(),
      wait_ms: afterMs,
      provider: { model, waits: (track.retry?.provider?.waits ?? 0) + 1 },
    },
    waits: [],
    signals: null,
    events: [
      inTrack(track, { type: "provider_wait", ...namesOf(step), model, code, message, retry_in_seconds }),
    ],
    usage,
  };
}
