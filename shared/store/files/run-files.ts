import { z } from "zod";
import { FileFacts } from "../../contracts/artifact.ts";
import type { RunId } from "../../contracts/ids.ts";
import { DEFAULT_FILE_BYTES } from "../../contracts/tenant.ts";
import type { Sql } from "../sql.ts";

/** A file that a run can read. */
export const FileEntry = FileFacts.extend({
  object_key: z.string(),
  scope: z.enum(["run", "session", "attachment"]),
});
export type FileEntry = z.infer<typeof FileEntry>;

/** The files that a run can read, and what it may still write. */
export const RunFileList = z.object({
  session_id: z.string().nullable(),
  /** The most bytes of one file of its tenant. */
  max_bytes: z.number(),
  own_files: z.number(),
  own_bytes: z.number(),
  files: z.array(FileEntry),
});
export type RunFileList = z.infer<typeof RunFileList>;

/** The most files of a session, and the most attachments, that a run sees. */
const MAX_OTHERS = 1_000;

/**
 * The files that a run can read. Of files with the same name it sees its own newest one, else the newest one of its session. After these
 * come its attachments, and in a chat those of all turns of its session. Files of other runs are visible once they are committed.
 */
export async function readRunFiles(sql: Sql, run: RunId): Promise<RunFileList> {
  const [row] = await sql`
    with r as (
      select run_id, tenant_id, session_id, chat_session from runs where run_id = ${run}
    ), own as (
      select * from artifacts where run_id = ${run}
    ), visible as (
      select 1 as place, name, seq::float8 as age, object_key, content_type, bytes, sha256,
        case when session_id is null then 'run' else 'session' end as scope from own
      union all
      select * from (
        select distinct on (a.name) 2, a.name, 0::float8, a.object_key, a.content_type, a.bytes, a.sha256, 'session'
        from artifacts a join r on a.tenant_id = r.tenant_id and a.session_id = r.session_id
        where a.run_id <> r.run_id
        order by a.name, a.created_at desc limit ${MAX_OTHERS}) of_session
    ), newest as (
      select distinct on (name) name, object_key, content_type, bytes, sha256, scope from visible
      order by name, place, age desc, object_key
    ), attached as (
      select u.name, u.tenant_id || '/uploads/' || u.upload_id as object_key, u.content_type, u.bytes, u.sha256,
        'attachment' as scope
      from (
        select upload_id from upload_uses where run_id = ${run}
        union
        select upload_id from r join runs turn on turn.chat_session = r.chat_session
          join upload_uses s on s.run_id = turn.run_id
      ) used join uploads u using (upload_id) join r on r.tenant_id = u.tenant_id
      order by u.name, u.upload_id limit ${MAX_OTHERS}
    )
    select (select session_id from r) as session_id,
      coalesce((select max_artifact_bytes from tenants join r using (tenant_id)), ${DEFAULT_FILE_BYTES}::bigint)::float8 as max_bytes,
      (select count(*) from own)::int as own_files,
      (select coalesce(sum(bytes), 0) from own)::float8 as own_bytes,
      coalesce((select json_agg(f order by f.scope = 'attachment', f.name) from (
        select * from newest union all select * from attached) f), '[]')::text as files`;
  return RunFileList.parse({ ...row, files: JSON.parse(String(row?.files)) });
}
