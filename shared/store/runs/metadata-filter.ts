/** How runs are found by entries of their clients' metadata, which is stored as the text of JSON. */
import { JsonRecord } from "../../contracts/json.ts";
import type { PendingQuery, Row, Sql } from "../sql.ts";

/** An entry that a run's metadata must have: a text, or a number or truth value that is written like `value`. */
export type MetadataEntry = { key: string; value: string };

/** The most entries of one filter. */
export const MAX_METADATA_ENTRIES = 5;

/**
 * The most characters of an entry, name and value together. Postgres compares an entry with the metadata of 2,000 runs in a statement,
 * each of up to 16 KiB, and where both repeat a character with nearly all of it at each one.
 */
export const MAX_METADATA_CHARS = 1_000;

/** Metadata over this size is not searched: it matches no filter. */
const SEARCHED_BYTES = 16 * 1024;

/**
 * The escapes that Postgres' functions for JSON refuse, with the whole statement: U+0000, and halves of surrogate pairs. JSON.stringify
 * writes a whole pair as it is, so each escape of a surrogate is of a half.
 */
const REFUSED_ESCAPE = String.raw`(^|[^\\])(\\\\)*\\u(0000|d[89a-f])`;

/**
 * Whether metadata may have this entry, by its text: the edge writes metadata with JSON.stringify, which writes an entry in
 * one way. As text and not as JSON, because Postgres refuses a whole statement for one escape such as \u0000. An entry of an
 * inner object matches too; `hasMetadata` decides.
 */
export function mayHaveEntry(sql: Sql, { key, value }: MetadataEntry): PendingQuery<Row[]> {
  const name = JSON.stringify(key);
  const inMetadata = [JSON.stringify(value), `${value},`, `${value}}`]
    .map((written) => sql`position(${`${name}:${written}`} in metadata) > 0`)
    .reduce((any, condition) => sql`${any} or ${condition}`);
  return sql`(octet_length(metadata) <= ${SEARCHED_BYTES} and (${inMetadata}))`;
}

/** Whether metadata has these entries. */
export function hasMetadata(metadata: string, entries: readonly MetadataEntry[]): boolean {
  if (entries.length === 0) return true;
  const values = JsonRecord.parse(JSON.parse(metadata));
  return entries.every(({ key, value }) => {
    const stored = Object.hasOwn(values, key) ? values[key] : undefined;
    return typeof stored === "object" || stored === undefined ? false : String(stored) === value;
  });
}

/**
 * Whether metadata has this entry, decided by Postgres. Metadata with an escape that Postgres refuses does not match: what a filter
 * changes must be certain.
 */
export function hasEntry(sql: Sql, entry: MetadataEntry): PendingQuery<Row[]> {
  return sql`
    case when ${mayHaveEntry(sql, entry)} and metadata !~ ${REFUSED_ESCAPE}
      then coalesce(metadata::json ->> ${entry.key} = ${entry.value}, false)
        and json_typeof(metadata::json -> ${entry.key}) in ('string', 'number', 'boolean')
      else false end`;
}
