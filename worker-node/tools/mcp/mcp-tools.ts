import { z } from "zod";
import { McpListing, McpTool, parseMcpServer } from "../../../shared/contracts/definition/index.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { JsonObject } from "../../../shared/contracts/json.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { sealedNameOfServer } from "../../../shared/security/sealed-tool.ts";
import type { MasterKeys } from "../../../shared/security/master-keys.ts";
import type { McpListed } from "../../../shared/store/definitions/mcp-servers.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { TerminalError, ToolRejection } from "../../engine/step-errors.ts";
import type { McpOutcome, McpRequest, McpTask } from "../../engine/mcp-pending.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import type { KeptConnections } from "../../outbound/kept-connections.ts";
import { openSecrets } from "../open-secrets.ts";
import { hasTask, RegisteredTasks } from "./registered-tasks.ts";
import type { StdioCommands } from "./stdio.ts";
import { ConnectionPool } from "./connection-pool.ts";
import type { ServerAccess } from "./connection-pool.ts";

/** A listing that is older than this is still used, and renewed for the next step that needs the server. */
const FRESH_MS = 5 * 60_000;
/** The most renewals at once: a step never waits for one. */
const MAX_RENEWALS = 8;
/** The words with which servers say that they do not have a tool. */
const NO_TOOL = /not found|unknown tool|no such tool|does not exist|disabled/i;

/**
 * The definition as it is stored, and its row. `tenant`: the tenant that uses the server; absent: a worker lists the tools for the owner.
 */
const Stored = z.looseObject({
  name: z.string(),
  owner: z.string(),
  version: z.number().int(),
  tenant: z.string().optional(),
});
/** The tools of a stored server as they were listed last; null: they were never listed. */
const Known = z.object({ listing: z.string().nullable(), age_ms: z.number().nullable() });

export type McpToolsDeps = {
  egress: Egress;
  timeoutMs: number;
  masterKey: MasterKeys | null;
  /** The commands of servers of type stdio, by their names in definitions; absent: there are none. */
  stdio?: StdioCommands;
  /** The TCP connections of all requests; absent: they close after 1.5 s without one. */
  connections?: KeptConnections;
  store: Pick<StateStore, "readMcpVersions" | "saveMcpListing" | "saveMcpTask" | "forgetMcpTask">;
};

/** The tools of MCP servers. */
export class McpTools {
  readonly #deps: McpToolsDeps;
  readonly pool: ConnectionPool;
  readonly #tasks: RegisteredTasks;
  readonly #renewals = new Map<string, Promise<void>>();

  constructor(deps: McpToolsDeps) {
    this.#deps = deps;
    this.pool = new ConnectionPool(deps);
    this.#tasks = new RegisteredTasks(deps.store);
  }

  /**
   * The tools of a stored server as they were listed last, also when the server cannot be reached: then only the calls of its tools
   * fail. A server that was never listed is listed now.
   */
  async toolsOf(server: JsonObject, signal: AbortSignal): Promise<JsonObject[]> {
    const { listing, age_ms } = Known.parse(server);
    const { listing: _listing, age_ms: _age, ...stored } = server;
    if (listing === null) return toolsIn(await this.list(stored, signal), stored);
    if ((age_ms ?? 0) > FRESH_MS) this.#renew(stored);
    return toolsIn(McpListing.parse(JSON.parse(listing)), stored);
  }

  /**
   * Calls a tool of `toolsOf`, or goes on with a call that has waited.
   * @throws as `ConnectionPool.use`; a ToolRejection `tool_vanished` for a tool that the server no longer has
   */
  async call(request: McpRequest): Promise<McpOutcome> {
    const { signal, pending, traceparent } = request;
    const tool = McpTool.parse(request.tool);
    const stored = JsonRecord.parse(tool.server);
    const session = pending?.task?.session ?? null;
    const access = await this.#access(stored, signal, { mayKeep: session === null, session, traceparent });
    const reached = { access, pool: this.pool };
    if (pending !== null && hasTask(pending)) return this.#tasks.goOn(pending, request, reached);
    const args = JsonRecord.safeParse(request.args);
    if (!args.success) throw new ToolRejection("the arguments must be a JSON object");
    const { callMcpTool } = await import("./call-mcp-tool.ts");
    try {
      const outcome = await callMcpTool(tool, { ...request, args: args.data }, reached);
      await this.#tasks.register(outcome, request, reached);
      return outcome;
    } catch (error) {
      const isOfServer = error instanceof ToolRejection && error.status === undefined;
      if (isOfServer && NO_TOOL.test(error.message)) await this.#requireTool(tool, stored, signal);
      throw error;
    }
  }

  /** Cancels a task of a run that has ended. @throws as `ConnectionPool.use` */
  async cancelTask(
    stored: JsonObject,
    { id, session }: Pick<McpTask, "id" | "session">,
    signal: AbortSignal,
  ): Promise<void> {
    const { cancelTask } = await import("./tasks.ts");
    const access = await this.#access(stored, signal, { mayKeep: false, session });
    await cancelTask(id, { access, pool: this.pool });
  }

  /** Lists the tools of a stored server, and saves them, or why they cannot be listed. @throws as `ConnectionPool.use` */
  async list(stored: JsonObject, signal: AbortSignal): Promise<McpListing> {
    const { listTools } = await import("./list-tools.ts");
    try {
      const access = await this.#access(stored, signal, { mayKeep: false, session: null });
      const listing = await listTools({ access, pool: this.pool });
      await this.#save(stored, { listing: JSON.stringify(listing), error: null });
      return listing;
    } catch (error) {
      signal.throwIfAborted();
      await this.#save(stored, { listing: null, error: messageOf(error) });
      throw error;
    }
  }

  /** After the last call. */
  async close(): Promise<void> {
    await this.pool.close();
  }

  /** Distinguishes a refused call from a tool that is gone. The new listing is saved, so the next step is not offered the tool. */
  async #requireTool({ tool, server }: McpTool, stored: JsonObject, signal: AbortSignal): Promise<void> {
    const { tools, left_out } = await this.list(stored, signal);
    if ([...tools, ...left_out].some((listed) => listed.tool === tool)) return;
    throw new ToolRejection(`the MCP server ${server.name} no longer has the tool ${tool}`, {
      code: "tool_vanished",
    });
  }

  #renew(stored: JsonObject): void {
    const { owner, name } = Stored.parse(stored);
    const key = `${owner}/${name}`;
    if (this.#renewals.has(key) || this.#renewals.size >= MAX_RENEWALS) return;
    const renewal = this.list(stored, AbortSignal.timeout(this.#deps.timeoutMs))
      .then(() => {})
      .catch((error: unknown) => log.warn("mcp.list_failed", { server: name, message: messageOf(error) }))
      .finally(() => this.#renewals.delete(key));
    this.#renewals.set(key, renewal);
  }

  /** A listing that cannot be saved is made again: it is no reason to fail the step that has it. */
  async #save(stored: JsonObject, found: Pick<McpListed, "listing" | "error">): Promise<void> {
    const { owner, name, version } = Stored.parse(stored);
    await this.#deps.store.saveMcpListing({ owner, id: name, version, ...found }).catch((error: unknown) => {
      log.warn("mcp.save_failed", { server: name, message: messageOf(error) });
    });
  }

  async #access(
    stored: JsonObject,
    signal: AbortSignal,
    connection: Pick<ServerAccess, "mayKeep" | "session" | "traceparent">,
  ): Promise<ServerAccess> {
    const { owner, name, version, tenant = owner } = Stored.parse(stored);
    return {
      server: await this.#opened(stored, { owner, name }),
      used: { tenant, owner, name, version },
      timeoutMs: this.#deps.timeoutMs,
      signal,
      ...connection,
      onToolsChanged: () => this.#renew(stored),
    };
  }

  async #opened(stored: JsonObject, { owner, name }: { owner: string; name: string }): Promise<McpServer> {
    const sealedAs = { owner, name: sealedNameOfServer(name) };
    const parsed = parseMcpServer(await openSecrets(this.#deps.masterKey, sealedAs, stored));
    if (parsed.ok) return parsed.definition;
    throw new TerminalError("bad_tool", `the definition of the MCP server ${name} cannot be used`);
  }
}

function toolsIn(listing: McpListing, server: JsonObject): JsonObject[] {
  return listing.tools.map((tool) => JsonRecord.parse({ ...tool, tool_type: "mcp", server }));
}
