import { masterKeysOf } from "../../shared/security/master-keys.ts";
import {
  parseNewAgent,
  parseNewMcpServer,
  parseNewOrchestration,
  parseNewTool,
  toolWarnings,
  unreadTurns,
} from "../../shared/contracts/definition/index.ts";
import type { DefinitionKind, Tool } from "../../shared/contracts/definition/index.ts";
import { guardedUrl, parseConnection } from "../../shared/contracts/definition/sql-tool.ts";
import { SHARED } from "../../shared/contracts/tenant.ts";
import type { Owner } from "../../shared/contracts/tenant.ts";
import { AppError } from "../../shared/errors.ts";
import type { FieldError } from "../../shared/errors.ts";
import { readStoredTool, sealedNameOfServer } from "../../shared/security/sealed-tool.ts";
import { readOwnDefinition } from "../../shared/store/definitions/agents-and-tools.ts";
import type { NewDefinition } from "../../shared/store/definitions/stored-definition.ts";
import { addressWarnings } from "../http/outbound-url.ts";
import { invalidFields } from "../http/problem.ts";
import type { Config } from "../env.ts";
import type { Services } from "../services.ts";
import { checkDefinition, withId } from "./check-definition.ts";
import { isMasked, textToStore } from "./masked-tool.ts";
import { serverWarnings } from "./mcp-server-view.ts";
import { moneyRules } from "./money-rules.ts";
import { NOTHING_PLANNED, agentWarnings, orchestrationWarnings } from "./save-warnings.ts";
import type { Planned } from "./save-warnings.ts";

/** A definition that a client wants to save. `planned`: what the same request saves too, which no warning may call missing. */
type DefinitionRequest = {
  id: string;
  owner: Owner;
  body: Record<string, unknown>;
  isLenient: boolean;
  planned?: Planned;
};

/**
 * A definition as it is to be stored, and the warnings about it. `keepsSecretsOf`: the stored version whose secrets its masks keep, so it
 * is saved in place of that version alone; null: it has no masks.
 */
export type DefinitionToSave = {
  row: NewDefinition & { description: string };
  warnings: FieldError[];
  keepsSecretsOf: number | null;
};

type Reader = (
  services: Pick<Services, "sql" | "config">,
  request: DefinitionRequest,
) => Promise<DefinitionToSave>;

/**
 * Checks a definition as every save does, and seals its secrets. It stores nothing.
 * @throws AppError `invalid` or `not_yet`, with the path of each field
 */
export async function definitionToSave(
  services: Pick<Services, "sql" | "config">,
  kind: DefinitionKind,
  request: DefinitionRequest,
): Promise<DefinitionToSave> {
  const definition = await readers[kind](services, request);
  requireColumns(kind, definition.row);
  return definition;
}

/**
 * Refuses a name or description that Postgres cannot store: lists show them from columns of their own, which hold neither U+0000 nor
 * half of a surrogate pair. @throws AppError `invalid`
 */
function requireColumns(kind: DefinitionKind, { name, description }: DefinitionToSave["row"]): void {
  const columns = {
    [kind === "mcp_servers" ? "label" : "name"]: name,
    ...(kind === "orchestrations" && { description }),
  };
  const fields = Object.entries(columns)
    .filter(([, text]) => text.includes("\0") || !text.isWellFormed())
    .map(([path]) => ({ path, message: "must not contain U+0000 or half of a surrogate pair" }));
  if (fields.length > 0) throw invalidFields(fields);
}

const readOrchestration: Reader = async ({ sql }, { id, owner, body, isLenient, planned }) => {
  const money = await moneyRules(sql, owner, id);
  const parse = (json: unknown) => parseNewOrchestration(json, money);
  const orchestration = checkDefinition("orchestrations", withId(body, id), parse, isLenient);
  const { name, description } = orchestration;
  const stored = await orchestrationWarnings(sql, owner, orchestration, {
    planned: planned ?? NOTHING_PLANNED,
    money,
  });
  return {
    row: { id, name, description, definition: JSON.stringify(orchestration) },
    warnings: [...unreadTurns(body), ...stored],
    keepsSecretsOf: null,
  };
};

const readAgent: Reader = async ({ sql }, { id, owner, body, isLenient, planned }) => {
  const agent = checkDefinition("agents", withId(body, id), parseNewAgent, isLenient);
  const { name, description } = agent;
  return {
    row: { id, name, description, definition: JSON.stringify(agent) },
    warnings: await agentWarnings(sql, owner, agent, planned ?? NOTHING_PLANNED),
    keepsSecretsOf: null,
  };
};

/**
 * Reads a tool, whose id is its name. A client that read the tool sends it back with masks in place of the secrets: each mask keeps
 * the secret that is stored.
 */
const readTool: Reader = async ({ sql, config }, { id, owner, body, isLenient }) => {
  const tool = checkDefinition("tools", withId(body, id, "name"), parseNewTool, isLenient);
  const stored = isMasked(tool) ? await readOwnDefinition(sql, "tools", owner, id) : null;
  const known = stored === null ? null : readStoredTool(stored.definition);
  const definition = await textToStore(tool, { owner, name: id }, known, masterKeysOf(config));
  const { name, description } = tool;
  const warnings = [...toolWarnings(tool), ...toolAddressWarnings(tool, config)];
  return { row: { id, name, description, definition }, warnings, keepsSecretsOf: stored?.version ?? null };
};

function toolAddressWarnings(tool: Tool, config: Config): FieldError[] {
  if (tool.tool_type !== "sql") return addressWarnings(tool.url, config);
  const connection = parseConnection(tool.connection);
  return "error" in connection ? [] : addressWarnings(guardedUrl(connection), config, "connection");
}

/** Reads an MCP server, whose id is its name. A mask keeps the stored secret, as in a tool. */
const readServer: Reader = async ({ sql, config }, { id, owner, body, isLenient }) => {
  const server = checkDefinition("mcp_servers", withId(body, id, "name"), parseNewMcpServer, isLenient);
  if (server.server_type === "stdio" && owner !== SHARED) {
    const message =
      "stdio is for servers that a platform key saves for all tenants: it starts a process on the workers";
    throw new AppError("invalid", `Not valid: server_type ${message}.`, {
      fields: [{ path: "server_type", message }],
    });
  }
  const stored = isMasked(server) ? await readOwnDefinition(sql, "mcp_servers", owner, id) : null;
  const known = stored === null ? null : readStoredTool(stored.definition);
  const sealedAs = { owner, name: sealedNameOfServer(id) };
  const definition = await textToStore(server, sealedAs, known, masterKeysOf(config));
  const { label, description } = server;
  const warnings = [...serverWarnings(server), ...addressWarnings(server.url, config)];
  return {
    row: { id, name: label ?? id, description, definition },
    warnings,
    keepsSecretsOf: stored?.version ?? null,
  };
};

const readers: { [Kind in DefinitionKind]: Reader } = {
  orchestrations: readOrchestration,
  agents: readAgent,
  tools: readTool,
  mcp_servers: readServer,
};
