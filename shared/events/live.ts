import { utf8Length } from "../text/bytes.ts";
import { RunId } from "../contracts/ids.ts";
import type { EntryLines } from "./lines.ts";

/** A committed entry as it is published to viewers. `last`: the entry ended its run. */
export type LiveEntry = EntryLines & { run: RunId; last: boolean };

/** About how much a live stream keeps, which is seconds of traffic. The journal keeps everything. */
const KEEP_ENTRIES = 10_000;
const KEEP_BYTES = 16 * 1024 * 1024;

/** Larger events are not published: a viewer of their run learns that they are there, and reads them from the journal. */
const MAX_EVENT_BYTES = 64 * 1024;

/**
 * The arguments of the XADD that publishes an entry to a live stream.
 *
 * The stream is cut to as many entries as 16 MiB would hold if all were as large as this one: so large entries push out
 * others sooner, and the stream needs no count of its bytes.
 */
export function xaddArgs(key: string, entry: LiveEntry): string[] {
  const bytes = utf8Length(entry.events);
  // An entry without events leaves a gap for every viewer that does not have them yet: the viewer reads the journal.
  const { events, events_n } = bytes > MAX_EVENT_BYTES ? { events: "", events_n: 0 } : entry;
  const keep = Math.min(KEEP_ENTRIES, Math.ceil(KEEP_BYTES / Math.min(bytes, MAX_EVENT_BYTES)));
  return [
    key,
    "MAXLEN",
    "~",
    String(keep),
    "*",
    "r",
    entry.run,
    "s",
    String(entry.seq),
    "n",
    String(events_n),
    "e",
    events,
    "l",
    entry.last ? "1" : "0",
  ];
}

/** Reads the fields of a live stream's entry; null when `xaddArgs` did not write them. */
export function readLive(fields: readonly string[]): LiveEntry | null {
  const [, run, , seq, , eventsN, , events, , last] = fields;
  const id = RunId.safeParse(run);
  if (!id.success || events === undefined) return null;
  return { run: id.data, seq: Number(seq), events_n: Number(eventsN), events, last: last === "1" };
}
