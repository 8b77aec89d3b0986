import { z } from "zod";
import { RunId, SessionId } from "../../shared/contracts/ids.ts";
import { RunError, RunStatus } from "../../shared/contracts/run.ts";
import type { Principal } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import { readSession } from "../../shared/store/chat/sessions.ts";
import type { SessionRow } from "../../shared/store/chat/sessions.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { isoTime } from "../../shared/text/iso-time.ts";

/** A chat session as clients see it. */
export const SessionView = z
  .object({
    session_id: SessionId,
    agent_id: z.string(),
    tenant_id: z.string(),
    title: z.string(),
    /** The status of the turn that is under way, else of the newest turn; so are `turn_id`, `worker_id` and `error`. */
    status: RunStatus,
    turn_id: RunId,
    worker_id: z.string().nullable(),
    error: RunError.nullable(),
    created_at: z.iso.datetime(),
    last_message_at: z.iso.datetime().nullable(),
  })
  .meta({ id: "ChatSession" });
export type SessionView = z.infer<typeof SessionView>;

export function sessionViewOf(row: SessionRow): SessionView {
  return {
    session_id: row.session_id,
    agent_id: row.agent_id,
    tenant_id: row.tenant_id,
    title: row.title,
    status: row.status,
    turn_id: row.run_id,
    worker_id: row.worker_id,
    error: row.error,
    created_at: isoTime(row.created_at_ms),
    last_message_at: isoTime(row.last_message_at_ms),
  };
}

/** The path of every route of one session. */
export const SESSION_PATH = "/api/v2/chat/{session_id}";
export const SessionParams = z.object({ session_id: z.string() });

/** The session that a path names. @throws AppError `not_found`, also for a session of another tenant */
export async function findSession(
  sql: Sql,
  principal: Pick<Principal, "tenant">,
  id: string,
): Promise<SessionRow> {
  const row = await readSession(sql, principal.tenant, sessionIdOf(id));
  if (!row) throw noSession();
  return row;
}

/** The session id in a path or a body. @throws AppError `not_found` for an id that no session can have */
export function sessionIdOf(id: string): SessionId {
  const session = SessionId.safeParse(id);
  if (!session.success) {
    const form = session.error.issues[0]?.message ?? "has another form";
    throw new AppError("not_found", `There is no such session: a session id ${form}.`);
  }
  return session.data;
}

export function noSession(): AppError {
  return new AppError("not_found", "There is no such session.");
}

export function noTurn(): AppError {
  return new AppError("not_found", "The session has no such turn.");
}
