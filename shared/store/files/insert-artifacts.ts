import type { RunId } from "../../contracts/ids.ts";
import { pgArray } from "../sql.ts";
import type { Sql } from "../sql.ts";
import type { NewArtifact } from "./new-artifact.ts";

type Writing = readonly { run_id: RunId; artifacts: readonly NewArtifact[] }[];

/** The CTE that writes a row for each file of the entries that were committed. */
export function insertArtifacts(sql: Sql, entries: Writing) {
  const rows = entries.flatMap(({ run_id, artifacts }) => artifacts.map((file) => ({ run_id, ...file })));
  if (rows.length === 0) return sql``;
  return sql`, inserted_artifacts as (
      insert into artifacts (run_id, object_key, tenant_id, session_id, name, content_type, bytes, sha256, seq, step_path,
        visit, attempt)
      select run_id, a.object_key, m.tenant_id, case when a.scope = 'session' then m.session_id end, a.name, a.content_type,
        a.bytes, a.sha256, m.event_seq, a.step_path, a.visit, m.attempt
      from moved m join unnest(
        ${pgArray(rows.map((a) => a.run_id))}::text[], ${pgArray(rows.map((a) => a.object_key))}::text[],
        ${pgArray(rows.map((a) => a.scope))}::text[], ${pgArray(rows.map((a) => a.name))}::text[],
        ${pgArray(rows.map((a) => a.content_type))}::text[], ${pgArray(rows.map((a) => a.bytes))}::bigint[],
        ${pgArray(rows.map((a) => a.sha256))}::text[], ${pgArray(rows.map((a) => a.step_path))}::text[],
        ${pgArray(rows.map((a) => a.visit))}::int[]
      ) as a(run_id, object_key, scope, name, content_type, bytes, sha256, step_path, visit) using (run_id)
    )`;
}
