import { z } from "zod";
import { utf8 } from "../text/bytes.ts";
import { RunId, TenantId } from "../contracts/ids.ts";
import type { StoredPage } from "../contracts/journal-entry.ts";
import type { EntryLines } from "../events/lines.ts";
import { REFERS_TO_EVENTS } from "../journal/records.ts";
import { LENGTH_BYTES, PartHeader, rowsOf } from "./segment.ts";
import type { ArchivedEntry } from "./archived-entry.ts";

/** Where the journal of a run is: a part of a segment, with its first byte and its length in bytes. */
export const ArchivePlace = z.object({
  run_id: RunId,
  tenant_id: TenantId,
  segment_id: z.string(),
  offset: z.number().int().nonnegative(),
  length: z.number().int().positive(),
});
export type ArchivePlace = z.infer<typeof ArchivePlace>;

/** The key of a segment in the object store. */
export function segmentKey(tenant: string, segment: string): string {
  return `${tenant}/journal/${segment}`;
}

/** Reads `length` bytes of an object. It rejects when the store does not answer, or does not have them. */
export type ReadRange = (key: string, offset: number, length: number) => Promise<Uint8Array>;

/** The first read of a journal: the header, and of a small journal everything. */
const FIRST_BYTES = 64 * 1024;

/** Entries of an archived journal with events after number `after`, up to the end of a block; empty: there are none. */
async function readBlock(
  read: ReadRange,
  place: ArchivePlace,
  after: number,
): Promise<{ header: PartHeader; rows: ArchivedEntry[]; isLast: boolean }> {
  const part = openPart(read, place);
  const length = new DataView((await part(0, LENGTH_BYTES)).buffer).getUint32(0);
  const header = PartHeader.parse(JSON.parse(new TextDecoder().decode(await part(LENGTH_BYTES, length))));
  if (header.run_id !== place.run_id)
    throw new Error(`the archive has another run in place of ${place.run_id}`);
  let offset = LENGTH_BYTES + length;
  for (const [i, block] of header.blocks.entries()) {
    if (block.last_seq > after) {
      const rows = await rowsOf(block, await part(offset, block.bytes));
      return {
        header,
        rows: rows.filter(({ seq }) => seq > after),
        isLast: i === header.blocks.length - 1,
      };
    }
    offset += block.bytes;
  }
  return { header, rows: [], isLast: true };
}

/** Reads ranges of a part. What the first read has is not read again. */
function openPart(read: ReadRange, place: ArchivePlace) {
  const key = segmentKey(place.tenant_id, place.segment_id);
  let first: Promise<Uint8Array> | undefined;
  return async (from: number, length: number): Promise<Uint8Array<ArrayBuffer>> => {
    if (from + length > place.length) throw new Error(`the archived journal of ${place.run_id} is too short`);
    const firstBytes = Math.min(place.length, FIRST_BYTES);
    const isInFirst = from + length <= firstBytes;
    first ??= read(key, place.offset, firstBytes);
    const bytes = isInFirst
      ? (await first).slice(from, from + length)
      : await read(key, place.offset + from, length);
    if (bytes.length !== length) throw new Error(`the segment ${key} is too short`);
    return new Uint8Array(bytes);
  };
}

/** The page of event lines that `readEntries` asks for: the rows that it found in Postgres, or, if it found a place, the page there. */
export async function entriesFrom(
  read: ReadRange,
  found: EntryLines[] | ArchivePlace,
  after: number,
  size: { entries: number; bytes: number },
): Promise<EntryLines[]> {
  if (Array.isArray(found)) return found;
  const { rows } = await readBlock(read, found, after);
  const page: EntryLines[] = [];
  let bytes = 0;
  for (const { seq, events_n, events } of rows.slice(0, size.entries)) {
    if (bytes >= size.bytes) break;
    bytes += utf8(events).length;
    page.push({ seq, events_n, events });
  }
  return page;
}

/** A page for a fold of an archived journal: as `readStoredPage` gives it from Postgres. */
export async function archivedPage(
  read: ReadRange,
  place: ArchivePlace,
  after: number,
  upto: number,
): Promise<StoredPage> {
  const { header, rows, isLast } = await readBlock(read, place, after);
  const entries = rows.filter(({ seq }) => seq <= upto).map(storedOf);
  const isWithin = ({ seq }: { seq: number }): boolean => seq <= upto;
  const rewinds = after > 0 ? [] : header.rewinds.filter(isWithin).map(rewindOf);
  return { entries, more: !isLast && entries.length === rows.length, rewinds };
}

const rewindOf = ({ seq, output }: { seq: number; output: string }) => ({
  seq,
  kind: "rewind" as const,
  output,
});

/** A run that has ended waits for nothing, so parks have no age. */
function storedOf({ seq, kind, step_path, output, events }: ArchivedEntry) {
  const refersToEvents = output?.startsWith(REFERS_TO_EVENTS) ?? false;
  return { seq, kind, step_path, output, events: refersToEvents ? events : null };
}

/** Longer event lines are not read for a delivery: the same bound as in `readEvents`. */
const MAX_EVENT_BYTES = 1024 * 1024;

/** The event lines of the entry with this number; null: there is none, or they have more than 1 MiB. */
export async function archivedEvents(
  read: ReadRange,
  place: ArchivePlace,
  seq: number,
): Promise<string | null> {
  const { rows } = await readBlock(read, place, seq - 1);
  const [row] = rows;
  return row?.seq === seq && utf8(row.events).length <= MAX_EVENT_BYTES ? row.events : null;
}

/** Rows of an archived journal after number `after`, up to the end of a block; empty: there are none. */
export async function archivedRows(
  read: ReadRange,
  place: ArchivePlace,
  after: number,
): Promise<ArchivedEntry[]> {
  return (await readBlock(read, place, after)).rows;
}
