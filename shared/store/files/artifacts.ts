import { z } from "zod";
import { FileFacts } from "../../contracts/artifact.ts";
import type { RunId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";

/** A file that a tool of a run has written, and whose call is committed. */
export const ArtifactRow = FileFacts.extend({
  run_id: z.string(),
  object_key: z.string(),
  scope: z.enum(["run", "session"]),
  step_path: z.string(),
  created_at: z.string(),
});
export type ArtifactRow = z.infer<typeof ArtifactRow>;

/** All files of a run, the oldest first. A run has at most 1,000. */
export async function listFiles(sql: Sql, run: RunId): Promise<ArtifactRow[]> {
  const rows =
    await sql`select ${columns(sql)} from artifacts where run_id = ${run} order by seq, object_key`;
  return rows.map((row) => ArtifactRow.parse(row));
}

/** The newest file with this name in a run; null: there is none. */
export async function findArtifact(sql: Sql, run: RunId, name: string): Promise<ArtifactRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from artifacts where run_id = ${run} and name = ${name} order by seq desc, object_key limit 1`;
  return row === undefined ? null : ArtifactRow.parse(row);
}

/** The files of a run with these keys. */
export async function readArtifacts(sql: Sql, run: RunId, keys: readonly string[]): Promise<ArtifactRow[]> {
  const rows = await sql`
    select ${columns(sql)} from artifacts where run_id = ${run} and object_key = any (${pgArray(keys)}::text[])`;
  return rows.map((row) => ArtifactRow.parse(row));
}

function columns(sql: Sql) {
  return sql`run_id, object_key, name, content_type, bytes::float8 as bytes, sha256,
    case when session_id is null then 'run' else 'session' end as scope, step_path,
    to_char(created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as created_at`;
}
