import { turnDefinition, turnDefinitionId } from "../../shared/contracts/chat.ts";
import { parseAgent } from "../../shared/contracts/definition/index.ts";
import { newSessionId, TenantId } from "../../shared/contracts/ids.ts";
import type { SessionId } from "../../shared/contracts/ids.ts";
import { JsonValue } from "../../shared/contracts/json.ts";
import { AppError } from "../../shared/errors.ts";
import { readSession } from "../../shared/store/chat/sessions.ts";
import type { TurnToOpen } from "../../shared/store/chat/sessions.ts";
import { readDefinition } from "../../shared/store/definitions/agents-and-tools.ts";
import { firstAgent } from "../../shared/store/definitions/look-up.ts";
import type { Sql } from "../../shared/store/sql.ts";
import { invalidFields } from "../http/problem.ts";
import { noSession, sessionIdOf } from "./session-view.ts";

/** A new session's title is the beginning of its first message, at most this long. A client may change it. */
const TITLE_CHARS = 60;

/** The fields of a turn's request that choose its session. */
type SessionChoice = {
  session_id?: string | null | undefined;
  agent?: string | null | undefined;
  message: string;
};

/** A turn with its session, tenant and agent. The submission reserves the turn's base. */
export type Opening = Omit<TurnToOpen, "base">;

/** Where a turn belongs: its tenant, and the session that it continues; null: it begins one. */
export type TurnPlace = { tenant: TenantId; known: Awaited<ReturnType<typeof sessionOf>> | null };

/**
 * @param owner the tenant whose sessions the caller may use; null: of any tenant
 * @param fallback the tenant of a new session when `owner` is null
 * @throws AppError `not_found` for an unknown session
 */
export async function placeOf(
  sql: Sql,
  owner: TenantId | null,
  fallback: TenantId,
  { session_id }: SessionChoice,
): Promise<TurnPlace> {
  const known = session_id ? await sessionOf(sql, owner, sessionIdOf(session_id)) : null;
  return { known, tenant: known ? TenantId.parse(known.tenant_id) : (owner ?? fallback) };
}

/**
 * The session of a turn, and the newest version of the session's agent. A request that names no session gets a new one with the agent
 * that it names, else with the tenant's first agent by name.
 * @throws AppError `not_found` for an unknown agent, `invalid`, `not_yet`
 */
export async function openingOf(
  sql: Sql,
  { tenant, known }: TurnPlace,
  chosen: SessionChoice,
): Promise<Opening> {
  if (known && chosen.agent && chosen.agent !== known.agent_id) {
    throw invalid("agent", `is not the agent of this session, which is ${known.agent_id}: leave it out`);
  }
  const agent = known?.agent_id ?? chosen.agent ?? (await firstAgent(sql, tenant));
  if (agent === null) {
    throw invalid("agent", "is needed: this tenant has no agent yet. Save one with PUT /api/v2/agents/{id}");
  }
  return {
    session: known?.session_id ?? newSessionId(),
    tenant,
    agent,
    title: titleOf(chosen.message),
    definition: await definitionOf(sql, tenant, agent, known !== null),
  };
}

async function sessionOf(sql: Sql, tenant: TenantId | null, id: SessionId) {
  const row = await readSession(sql, tenant, id);
  if (!row) throw noSession();
  return row;
}

/** The newest version of the agent, as the definition of a turn. */
async function definitionOf(
  sql: Sql,
  tenant: TenantId,
  id: string,
  ofSession: boolean,
): Promise<Opening["definition"]> {
  const stored = await readDefinition(sql, "agents", tenant, id);
  if (!stored && ofSession) {
    const detail = `The agent ${id} of this session was deleted. Save it again, or begin a session with another agent.`;
    throw new AppError("not_found", detail);
  }
  if (!stored) throw new AppError("not_found", `There is no agent ${id}.`);
  const json = JsonValue.parse(JSON.parse(stored.definition));
  const parsed = parseAgent(json);
  if (!parsed.ok) {
    const fields = parsed.errors.map(({ path, message }) => ({ path: `agent.${path}`, message }));
    throw new AppError(parsed.code, `The agent ${id} cannot chat.`, { fields });
  }
  const definition = turnDefinition(id, parsed.definition.name, json);
  return { owner: stored.owner, id: turnDefinitionId(id), version: stored.version, definition };
}

/** One line of at most 60 code points: none is cut in half. */
function titleOf(message: string): string {
  return Array.from(message.trim().replaceAll(/\s+/g, " ")).slice(0, TITLE_CHARS).join("");
}

function invalid(path: string, message: string): AppError {
  return invalidFields([{ path, message }]);
}
