import { baseOf } from "../contracts/ids.ts";
import type { RunId } from "../contracts/ids.ts";
import type { RunEvent } from "../contracts/event.ts";

/** A committed journal entry as viewers need it: its lines carry the numbers `seq - events_n + 1` to `seq`. */
export type EntryLines = { seq: number; events_n: number; events: string };

/**
 * An event as it is stored: one line of JSON, without `run_id` and `seq`, which only its commit decides.
 *
 * `ts` is the writer's clock and orders nothing.
 */
export function writeLine(event: RunEvent, ts: Date, correlationId: string): string {
  return JSON.stringify({ ...event, ts: ts.toISOString(), correlation_id: correlationId });
}

/** The id of a run's event number `seq`: the same for every viewer, for ever. */
export function eventId(run: RunId, seq: number): string {
  return `${baseOf(run)}-${seq}`;
}

/** The JSON text of event number `seq`: what a viewer gets as `data`, byte for byte always the same. */
export function eventJson(run: RunId, seq: number, line: string): string {
  return `{"run_id":"${run}","seq":${seq},${line.slice(1)}`;
}

/** The SSE frames of an entry's events from number `from` on. Empty when all of them come before it. */
export function frames(run: RunId, entry: EntryLines, from = 1): string {
  const base = baseOf(run);
  let text = "";
  let seq = entry.seq - entry.events_n;
  for (const line of entry.events.split("\n")) {
    seq += 1;
    if (seq >= from) text += `id: ${base}-${seq}\ndata: ${eventJson(run, seq, line)}\n\n`;
  }
  return text;
}

/**
 * Reads a `Last-Event-ID`: the number of the last event a viewer has, 0 for the start, null when it is malformed.
 *
 * Absent, `0` and `0-0` mean the start. Only ids of this very run are understood.
 */
export function readPosition(run: RunId, id: string | undefined): number | null {
  if (id === undefined || id === "" || id === "0" || id === "0-0") return 0;
  const match = /^([0-9]{13})-([0-9]{1,9})$/.exec(id);
  if (!match || match[1] !== baseOf(run)) return null;
  return Number(match[2]);
}
