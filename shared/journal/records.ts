import { z } from "zod";
import type { RunEvent } from "../contracts/event.ts";
import { linesOf } from "../events/lines.ts";
import {
  Checkpoint,
  EndRecord,
  ParkRecord,
  RewindRecord,
  TurnCheckpoint,
} from "../contracts/journal-entry.ts";
import type { StoredEntry } from "../contracts/journal-entry.ts";
import { JsonValue } from "../contracts/json.ts";
import type { Json } from "../contracts/json.ts";

/** A value of at most this length is stored in the result: to read it from the event lines would cost more than its copy. */
const LONG_CHARS = 1_024;

/**
 * The values of a result that are stored once, by key: they are not in `set`, but in a field of one of the entry's event
 * lines. `line` counts from the entry's last line, 1, because pending events are put before the result's own.
 */
const SetFrom = z.object({
  set_from: z
    .record(z.string(), z.object({ line: z.number().int().positive(), field: z.string() }))
    .default({}),
});

/** The beginning of an `output` that refers to event lines. */
export const REFERS_TO_EVENTS = '{"set_from":';

/**
 * The JSON text of a result as an entry holds it. What a step writes is in most cases also what one of its events shows: a
 * long value is then stored in the event alone.
 * @param events the last events of the entry
 */
export function writeResult(checkpoint: Checkpoint, events: readonly RunEvent[]): string {
  const shown = Object.entries(checkpoint.set).flatMap(([key, value]) => {
    const eventField = eventFieldOf(value, events);
    return eventField === null ? [] : [[key, eventField] as const];
  });
  if (shown.length === 0) return JSON.stringify(checkpoint);
  const set_from = Object.fromEntries(shown);
  const inSet = Object.entries(checkpoint.set).filter(([key]) => !Object.hasOwn(set_from, key));
  return JSON.stringify({ set_from, ...checkpoint, set: Object.fromEntries(inSet) });
}

/** The line and the field of the event that has this very value; null when none has it, or the value is short. */
function eventFieldOf(value: Json, events: readonly RunEvent[]): { line: number; field: string } | null {
  const mayBeLong =
    typeof value === "string" ? value.length > LONG_CHARS : typeof value === "object" && value !== null;
  if (!mayBeLong) return null;
  for (const [index, event] of events.entries()) {
    for (const [field, shown] of Object.entries(event)) {
      if (shown !== value) continue;
      const isLong = typeof value === "string" || JSON.stringify(value).length > LONG_CHARS;
      return isLong ? { line: events.length - index, field } : null;
    }
  }
  return null;
}

function readResult(json: unknown, events: string): Checkpoint {
  const { set_from } = SetFrom.parse(json);
  const checkpoint = Checkpoint.parse(json);
  const shown = Object.entries(set_from);
  if (shown.length === 0) return checkpoint;
  const lines = linesOf(events);
  const values = shown.map(([key, { line, field }]) => {
    const event = z.record(z.string(), z.unknown()).parse(JSON.parse(lines.at(-line) ?? "null"));
    return [key, JsonValue.parse(event[field])] as const;
  });
  return { ...checkpoint, set: { ...checkpoint.set, ...Object.fromEntries(values) } };
}

/** What an entry holds besides its events, by kind: `record` is the content of its `output`. */
export type JournalRecord =
  | { kind: "step"; record: Checkpoint }
  | { kind: "turn"; record: TurnCheckpoint }
  | { kind: "note" }
  | { kind: "park"; record: ParkRecord }
  | { kind: "end"; record: EndRecord }
  | { kind: "rewind"; record: RewindRecord };

/** Reads what a stored entry holds. @throws when `output` is not what the entry's kind holds */
export function recordOf({ kind, output, events }: Omit<StoredEntry, "seq">): JournalRecord {
  if (output === null) return { kind: "note" };
  const json: unknown = JSON.parse(output);
  switch (kind) {
    case "step":
      return { kind, record: readResult(json, events ?? "") };
    case "turn":
      return { kind, record: TurnCheckpoint.parse(json) };
    case "note":
      return { kind };
    case "park":
      return { kind, record: ParkRecord.parse(json) };
    case "end":
      return { kind, record: EndRecord.parse(json) };
    case "rewind":
      return { kind, record: RewindRecord.parse(json) };
  }
}
