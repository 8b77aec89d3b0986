import { parseOrchestration } from "../../shared/contracts/definition/index.ts";
import type { Orchestration } from "../../shared/contracts/definition/index.ts";
import { agentOfTurn, turnDefinitionId } from "../../shared/contracts/chat.ts";
import type { TenantId } from "../../shared/contracts/ids.ts";
import { isObject, JsonValue } from "../../shared/contracts/json.ts";
import type { JsonObject } from "../../shared/contracts/json.ts";
import type { StateStore } from "../../shared/store/state.ts";
import { VERSION_KEPT_MS } from "../../shared/timing.ts";
import { TerminalError } from "../engine/step-errors.ts";
import { BoundedCache } from "./bounded-cache.ts";
import { CurrentDefinitions } from "./current-definitions.ts";

/** The most orchestration versions in memory, and the most characters of their JSON. */
const MOST = { entries: 500, chars: 16 * 1024 * 1024 };

/** A version as it is kept: `agent` is that of a chat turn. `readMs`: the time of `performance.now()` at which its read was sent. */
type Version = { definition: Orchestration; agent: JsonObject | null; readMs: number };

/**
 * Definitions as executions need them. A version of an orchestration does not change while its tenant exists, so executions share
 * one read of it for `VERSION_KEPT_MS`.
 */
export class Definitions {
  readonly #store: StateStore;
  /** Versions that are being read: runs that start at the same time share one read. */
  readonly #reading = new Map<string, Promise<Version>>();
  readonly #versions = new BoundedCache<Version>(MOST);
  readonly #current: CurrentDefinitions;

  constructor(store: StateStore) {
    this.#store = store;
    this.#current = new CurrentDefinitions(store);
  }

  /** The current definition of an agent or a tool for an execution that began at `beganMs`: see `CurrentDefinitions`. */
  named(
    kind: "agents" | "tools",
    tenant: TenantId,
    id: string,
    beganMs: number,
  ): JsonObject | null | Promise<JsonObject | null> {
    return this.#current.named(kind, tenant, id, beganMs);
  }

  /** @throws TerminalError when the version does not exist, or cannot be executed */
  async orchestration(tenant: string, id: string, version: number): Promise<Orchestration> {
    return (await this.#version(tenant, id, version)).definition;
  }

  /** The agent that the version of a chat turn holds; null: the version is no turn's. @throws TerminalError as `orchestration` */
  async agentOfTurn(tenant: string, id: string, version: number): Promise<JsonObject | null> {
    return (await this.#version(tenant, id, version)).agent;
  }

  async #version(tenant: string, id: string, version: number): Promise<Version> {
    const key = `${tenant}\0${id}\0${version}`;
    const cached = this.#versions.get(key);
    if (cached && performance.now() - cached.readMs < VERSION_KEPT_MS) return cached;
    const reading = this.#reading.get(key) ?? this.#read(key, tenant, id, version);
    this.#reading.set(key, reading);
    return reading.finally(() => this.#reading.delete(key));
  }

  async #read(key: string, tenant: string, id: string, version: number): Promise<Version> {
    const readMs = performance.now();
    const text = await this.#store.readPinnedDefinition(tenant, id, version);
    if (text === null)
      throw new TerminalError("definition_missing", `version ${version} of ${id} does not exist`);
    const json: unknown = JSON.parse(text);
    const parsed = parseOrchestration(json);
    if (!parsed.ok)
      throw new TerminalError("definition_invalid", `version ${version} of ${id} cannot be executed`);
    const agent = id.startsWith(turnDefinitionId("")) ? agentOfTurn(json) : null;
    const read = { definition: parsed.definition, agent, readMs };
    this.#versions.set(key, read, text.length);
    return read;
  }

  /** The current definition of an MCP server, the tenant's own or else the shared one, with the version and the known tools of its row, and the tenant. */
  async mcpServer(tenant: TenantId, name: string): Promise<JsonObject | null> {
    const stored = await this.#store.readMcpServer(tenant, name);
    if (stored === null) return null;
    const { id: _id, definition, ...row } = stored;
    const json = JsonValue.parse(JSON.parse(definition));
    return isObject(json) ? { ...json, name, ...row, tenant } : null;
  }
}
