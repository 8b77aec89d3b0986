import { z } from "zod";
import { jsonText } from "../../contracts/json.ts";
import { RunId, SessionId } from "../../contracts/ids.ts";
import type { TenantId } from "../../contracts/ids.ts";
import { RunError, RunStatus } from "../../contracts/run.ts";
import type { StoredDefinition } from "../definitions/stored-definition.ts";
import type { Sql } from "../sql.ts";

const ms = z.number().nullable();

/** A chat session, with the turn that its status follows: the open one that is under way, else the newest. */
const SessionRow = z.object({
  session_id: SessionId,
  tenant_id: z.string(),
  agent_id: z.string(),
  title: z.string(),
  newest_base: z.string(),
  created_at_ms: z.number(),
  last_message_at_ms: ms,
  run_id: RunId,
  status: RunStatus,
  worker_id: z.string().nullable(),
  error: jsonText(RunError).nullable(),
});
export type SessionRow = z.infer<typeof SessionRow>;

const columns = (sql: Sql) => sql`
  s.session_id, s.tenant_id, s.agent_id, s.title, s.newest_base, t.run_id, t.status, t.worker_id, t.error,
  extract(epoch from s.created_at)::float8 * 1000 as created_at_ms, coalesce((
    select extract(epoch from m.at) from chat_messages m
    where m.session_id = s.session_id and m.n <> 1 order by m.base desc, m.n desc limit 1
  ), extract(epoch from s.last_message_at))::float8 * 1000 as last_message_at_ms`;

/** The oldest turn that has not ended, else the newest one. */
const currentTurn = (sql: Sql) => sql`
  cross join lateral (
    (select run_id, status, worker_id, error, 0 as place from runs
     where chat_session = s.session_id and ended_at is null order by right(run_id, 13) limit 1)
    union all
    (select run_id, status, worker_id, error, 1 from runs
     where chat_session = s.session_id order by right(run_id, 13) desc limit 1)
    order by place limit 1
  ) t`;

/**
 * One session of a tenant; null when that tenant has no such session, or it has no turn.
 * @param tenant null: any tenant, for a platform key
 */
export async function readSession(
  sql: Sql,
  tenant: TenantId | null,
  session: SessionId,
): Promise<SessionRow | null> {
  const [row] = await sql`
    select ${columns(sql)} from chat_sessions s ${currentTurn(sql)}
    where s.session_id = ${session} and s.deleted_at is null and (${tenant}::text is null or s.tenant_id = ${tenant})`;
  return row ? SessionRow.parse(row) : null;
}

/** The place of a session in the list. */
export type SessionPosition = Pick<SessionRow, "newest_base" | "session_id">;

/** A page of sessions, that with the newest turn first. Null: of any tenant, with any agent, from the first one. */
export async function listSessions(
  sql: Sql,
  { tenant, agent }: { tenant: TenantId | null; agent: string | null },
  after: SessionPosition | null,
  limit: number,
): Promise<SessionRow[]> {
  const rows = await sql`
    select ${columns(sql)} from (
      select * from chat_sessions
      where deleted_at is null and newest_base <> ''
        ${tenant === null ? sql`` : sql`and tenant_id = ${tenant}`}
        ${agent === null ? sql`` : sql`and agent_id = ${agent}`}
        ${after === null ? sql`` : sql`and (newest_base, session_id) < (${after.newest_base}, ${after.session_id})`}
      order by newest_base desc, session_id desc limit ${limit}
    ) s ${currentTurn(sql)} order by s.newest_base desc, s.session_id desc`;
  return rows.map((row) => SessionRow.parse(row));
}

/** What a turn is prepared from: its session, and the version of the agent as a definition. */
export type TurnToOpen = {
  session: SessionId;
  tenant: TenantId;
  agent: string;
  title: string;
  definition: StoredDefinition;
  /** The base that the turn gets, if the session has no later one. */
  base: string;
};

/**
 * Gives out a base for a turn: it is above all that the session has given out. Makes the session if it does not exist, and
 * stores the definition of the turn.
 * @returns null: the session is deleted
 */
export async function reserveBase(
  sql: Sql,
  { session, tenant, agent, title, definition, base }: TurnToOpen,
): Promise<string | null> {
  const { owner, id, version, definition: text } = definition;
  const [row] = await sql<{ base: string }[]>`
    with stored as (
      insert into orchestration_versions (tenant_id, id, version, definition)
      values (${owner}, ${id}, ${version}, ${text}) on conflict do nothing
    )
    insert into chat_sessions as s (session_id, tenant_id, agent_id, title, reserved_base)
    values (${session}, ${tenant}, ${agent}, ${title}, ${base})
    on conflict (session_id) do update
      set reserved_base = greatest(excluded.reserved_base, lpad((s.reserved_base::bigint + 1)::text, 13, '0'))
      where s.tenant_id = excluded.tenant_id and s.deleted_at is null
    returning reserved_base as base`;
  return row?.base ?? null;
}

/** Renames a session. @returns false when that tenant (null: any) has no such session */
export async function renameSession(
  sql: Sql,
  tenant: TenantId | null,
  session: SessionId,
  title: string,
): Promise<boolean> {
  const rows = await sql`
    update chat_sessions set title = ${title}
    where session_id = ${session} and deleted_at is null and newest_base <> ''
      and (${tenant}::text is null or tenant_id = ${tenant}) returning 1`;
  return rows.length > 0;
}

/**
 * Deletes a session and its history. The runs of its turns stay; it takes no further turn.
 * @returns false when that tenant (null: any) has no such session
 */
export async function deleteSession(sql: Sql, tenant: TenantId | null, session: SessionId): Promise<boolean> {
  const [row] = await sql<{ n: number }[]>`
    with deleted as (
      update chat_sessions set deleted_at = now(), title = ''
      where session_id = ${session} and deleted_at is null and newest_base <> ''
        and (${tenant}::text is null or tenant_id = ${tenant})
      returning session_id
    ), history as (
      delete from chat_messages m using deleted d where m.session_id = d.session_id
    )
    select count(*)::int as n from deleted`;
  return (row?.n ?? 0) > 0;
}
