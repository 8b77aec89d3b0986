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
import { noSession, sessionIdOf } from "./session-view.ts";

/** A session's title, until a client gives it another one: the beginning of its first message. */
const TITLE_CHARS = 60;

/** What a request for a turn says about its session. */
type Asked = { session_id?: string | null | undefined; agent?: string | null | undefined; message: string };

/** A turn that may be opened, still without a base. */
export type Opening = Omit<TurnToOpen, "base">;

/**
 * The session of a turn and the version of its agent: those of the session that the request names, else a new session with the
 * agent that the request names, else with the first agent of the tenant by name.
 * @param owner the tenant whose sessions the caller may use; null: of any tenant
 * @param fallback the tenant of a new session when `owner` is null
 * @throws AppError `not_found` for an unknown session or agent, `invalid`, `not_yet`
 */
export async function openingOf(
  sql: Sql,
  owner: TenantId | null,
  fallback: TenantId,
  asked: Asked,
): Promise<Opening> {
  const known = asked.session_id ? await sessionOf(sql, owner, sessionIdOf(asked.session_id)) : null;
  const tenant = known ? TenantId.parse(known.tenant_id) : (owner ?? fallback);
  if (known && asked.agent && asked.agent !== known.agent_id) {
    throw invalid("agent", `is not the agent of this session, which is ${known.agent_id}: leave it out`);
  }
  const agent = known?.agent_id ?? asked.agent ?? (await firstAgent(sql, tenant));
  if (agent === null) {
    throw invalid("agent", "is needed: this tenant has no agent yet. Save one with PUT /api/v2/agents/{id}");
  }
  return {
    session: known?.session_id ?? newSessionId(),
    tenant,
    agent,
    title: titleOf(asked.message),
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

/** One line of at most 60 characters, not cut within one. */
function titleOf(message: string): string {
  return Array.from(message.trim().replaceAll(/\s+/g, " ")).slice(0, TITLE_CHARS).join("");
}

function invalid(path: string, message: string): AppError {
  return new AppError("invalid", `Not valid: ${path}.`, { fields: [{ path, message }] });
}
