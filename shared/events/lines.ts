import { baseOf } from "../contracts/ids.ts";
import type { RunId } from "../contracts/ids.ts";
import type { RunEvent } from "../contracts/event.ts";
import { isoTime } from "../text/iso-time.ts";
import { inOneLine } from "../text/one-line.ts";
import { codedLines, decodedLines, mayBeCoded } from "./coded-lines.ts";

/** The event lines of a committed journal entry. They have the numbers `seq - events_n + 1` to `seq`. */
export type EntryLines = { seq: number; events_n: number; events: string };

/**
 * Returns an event as a line of JSON, without `run_id` and `seq`, because `seq` is known at the
 * commit.
 *
 * `ts` is from the writer's clock; nothing is ordered by it.
 */
export function writeLine(event: RunEvent, ts: Date, correlationId: string): string {
  return JSON.stringify(event).slice(0, -1) + lineEnd(ts, correlationId);
}

/**
 * The lines of events that are written together. What they share is written once, and no event is copied: with that,
 * lines took 6 % of the processor time of a worker. A long event that was measured is not written again.
 */
export function writeLines(events: readonly RunEvent[], ts: Date, correlationId: string): string[] {
  const end = lineEnd(ts, correlationId);
  return events.map((event) => (measured.get(event) ?? JSON.stringify(event)).slice(0, -1) + end);
}

/** The JSON of long events that were measured and fit: no event changes after it is made. It is dropped with its event. */
const measured = new WeakMap<RunEvent, string>();
/** To write a shorter event twice takes less time than an entry of the map, of which each collection of garbage has to know: 0.6 and 0.8 us. */
const LONG_CHARS = 300;

/** Whether the JSON of an event has at most `maxChars` characters. That of a long event that fits is kept for its line. */
export function fitsIn(event: RunEvent, maxChars: number): boolean {
  const json = JSON.stringify(event);
  if (json.length > maxChars) return false;
  if (json.length >= LONG_CHARS) measured.set(event, json);
  return true;
}

/** The end of a line, after the fields of its event. */
function lineEnd(ts: Date, correlationId: string): string {
  return `,"ts":"${isoTime(ts.getTime())}","correlation_id":${JSON.stringify(correlationId)}}`;
}

/**
 * How the lines of an entry are stored. `short`: a line leaves out the fields that the next line has with the same value (docs/protocol.md 5.33). `coded`: besides,
 * their common texts are one character each (5.37).
 */
export type LineFormat = "complete" | "short" | "coded";

/** The event lines of one entry as they are stored. */
export function joinLines(lines: readonly string[], format: LineFormat): string {
  if (format === "complete") return lines.join("\n");
  const short = shortened(lines);
  return (format === "coded" ? codedLines(short) : short).join("\n");
}

/**
 * Lines whose `ts` and `correlation_id` are those of the next line do not repeat them: they end with a comma in their place. So the
 * last line of an entry is always complete, and lines that are joined from several entries are read like those of one.
 */
function shortened(lines: readonly string[]): string[] {
  const short = [...lines];
  let end = "";
  for (let at = lines.length - 1; at >= 0; at--) {
    const line = lines[at] ?? "";
    if (end !== "" && line.endsWith(end)) short[at] = `${line.slice(0, -end.length)},`;
    else end = endOf(line);
  }
  return short;
}

/** The lines of stored events, each complete, whatever their format: one text may have lines of all formats. */
export function linesOf(events: string): string[] {
  const stored = events.split("\n");
  const lines = mayBeCoded(events) ? decodedLines(stored) : stored;
  if (!events.includes(",\n")) return lines;
  let end = "";
  for (let at = lines.length - 1; at >= 0; at--) {
    const line = lines[at] ?? "";
    if (line.endsWith(",")) lines[at] = line.slice(0, -1) + end;
    else end = endOf(line);
  }
  return lines;
}

/** The part of a line that `lineEnd` has written. Its first occurrence from the end is the right one: no JSON string holds an unescaped quote. */
function endOf(line: string): string {
  return line.slice(line.lastIndexOf(',"ts":"'));
}

/** The id of a run's event number `seq`. It is the same for every viewer and never changes. */
export function eventId(run: RunId, seq: number): string {
  return `${baseOf(run)}-${seq}`;
}

/** The JSON text of event number `seq`, which is the `data` of its frame: one line for every client. Every viewer gets the same bytes. */
export function eventJson(run: RunId, seq: number, line: string): string {
  return `{"run_id":"${run}","seq":${seq},${inOneLine(line).slice(1)}`;
}

/** The SSE frames of an entry's events from number `from` on; empty when all its events come before. */
export function frames(run: RunId, entry: EntryLines, from = 1): string {
  const base = baseOf(run);
  let text = "";
  let seq = entry.seq - entry.events_n;
  for (const line of linesOf(entry.events)) {
    seq += 1;
    if (seq >= from) text += `id: ${base}-${seq}\ndata: ${eventJson(run, seq, line)}\n\n`;
  }
  return text;
}

/**
 * Reads a `Last-Event-ID`: returns the number of the last event that the viewer has, 0 for none, null for a
 * malformed id.
 *
 * An absent id, `0` and `0-0` mean the start. An id of another run is malformed.
 */
export function readPosition(run: RunId, id: string | undefined): number | null {
  const position = parseEventId(id);
  if (position === "start") return 0;
  return position?.base === baseOf(run) ? position.seq : null;
}

/** The base of the run and the number in an event's id; null for a malformed id. An absent id, `0` and `0-0` mean the start. */
export function parseEventId(id: string | undefined): { base: string; seq: number } | "start" | null {
  if (id === undefined || id === "" || id === "0" || id === "0-0") return "start";
  const [, base, seq] = /^([0-9]{13})-([0-9]{1,9})$/.exec(id) ?? [];
  return base === undefined || seq === undefined ? null : { base, seq: Number(seq) };
}
