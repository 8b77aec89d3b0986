import { RunId } from "../contracts/ids.ts";
import type { EntryLines } from "./lines.ts";

/** A committed entry as it is published to viewers. `last`: the entry ended its run. */
export type LiveEntry = EntryLines & { run: RunId; last: boolean };

/** About how many entries a live stream keeps: seconds of traffic. The journal has all of them. */
const KEEP_ENTRIES = 10_000;

/** The arguments of the XADD that publishes an entry to a live stream. */
export function xaddArgs(key: string, entry: LiveEntry): string[] {
  return [
    key,
    "MAXLEN",
    "~",
    String(KEEP_ENTRIES),
    "*",
    "r",
    entry.run,
    "s",
    String(entry.seq),
    "n",
    String(entry.events_n),
    "e",
    entry.events,
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
