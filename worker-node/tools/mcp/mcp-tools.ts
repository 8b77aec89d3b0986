import { z } from "zod";
import { McpListing, McpTool, parseMcpServer } from "../../../shared/contracts/definition/index.ts";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { JsonRecord } from "../../../shared/contracts/json.ts";
import type { Json, JsonObject } from "../../../shared/contracts/json.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { sealedNameOfServer } from "../../../shared/security/sealed-tool.ts";
import type { MasterKeys } from "../../../shared/security/master-keys.ts";
import type { McpListed } from "../../../shared/store/definitions/mcp-servers.ts";
import { TerminalError } from "../../engine/step-errors.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { openSecrets } from "../open-secrets.ts";
import type { ServerAccess } from "./connection.ts";

/** A listing that is older is used, and renewed for the next step that needs the server. */
const FRESH_MS = 5 * 60_000;
/** The most renewals at once: a step never waits for one. */
const MAX_RENEWALS = 8;

/** The definition as it is stored, its row, and what is known of its tools. */
const Stored = z.looseObject({ name: z.string(), owner: z.string(), version: z.number().int() });
const Known = z.object({ listing: z.string().nullable(), age_ms: z.number().nullable() });

export type McpToolsDeps = {
  egress: Egress;
  timeoutMs: number;
  masterKey: MasterKeys | null;
  saveListing(found: McpListed): Promise<unknown>;
};

/**
 * The tools of MCP servers. Each use of a server is a connection of its own, which no other run shares.
 *
 * The client library is imported at the first use: a worker without MCP servers saves 14 MiB.
 */
export class McpTools {
  readonly #deps: McpToolsDeps;
  readonly #renewals = new Map<string, Promise<void>>();

  constructor(deps: McpToolsDeps) {
    this.#deps = deps;
  }

  /**
   * The tools of a stored server: those that were listed last, whatever has become of the server, so that a dead one costs its calls
   * alone. A server that was never listed is listed now.
   */
  async toolsOf(server: JsonObject, signal: AbortSignal): Promise<JsonObject[]> {
    const { listing, age_ms } = Known.parse(server);
    const { listing: _listing, age_ms: _age, ...stored } = server;
    if (listing === null) return toolsIn(await this.list(stored, signal), stored);
    if ((age_ms ?? 0) > FRESH_MS) this.#renew(stored);
    return toolsIn(McpListing.parse(JSON.parse(listing)), stored);
  }

  /** Calls a tool of `toolsOf`. @throws as `withServer` */
  async call(tool: JsonObject, args: JsonObject, effectKey: string, signal: AbortSignal): Promise<Json> {
    const parsed = McpTool.parse(tool);
    const server = await this.#opened(parsed.server);
    const { callMcpTool } = await import("./call-tool.ts");
    return callMcpTool(parsed, args, effectKey, this.#access(server, signal));
  }

  /** Lists the tools of a stored server, and saves them, or why they cannot be listed. @throws as `withServer` */
  async list(stored: JsonObject, signal: AbortSignal): Promise<McpListing> {
    const { listTools } = await import("./list-tools.ts");
    try {
      const listing = await listTools(this.#access(await this.#opened(stored), signal));
      await this.#save(stored, { listing: JSON.stringify(listing), error: null });
      return listing;
    } catch (error) {
      signal.throwIfAborted();
      await this.#save(stored, { listing: null, error: messageOf(error) });
      throw error;
    }
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
    await this.#deps.saveListing({ owner, id: name, version, ...found }).catch((error: unknown) => {
      log.warn("mcp.save_failed", { server: name, message: messageOf(error) });
    });
  }

  async #opened(stored: Record<string, unknown>): Promise<McpServer> {
    const { owner, name } = z.looseObject({ owner: z.string(), name: z.string() }).parse(stored);
    const sealedAs = { owner, name: sealedNameOfServer(name) };
    const parsed = parseMcpServer(await openSecrets(this.#deps.masterKey, sealedAs, stored));
    if (parsed.ok) return parsed.definition;
    throw new TerminalError("bad_tool", `the definition of the MCP server ${name} cannot be used`);
  }

  #access(server: McpServer, signal: AbortSignal): ServerAccess {
    const { egress, timeoutMs } = this.#deps;
    return { server, egress, timeoutMs, signal };
  }
}

function toolsIn(listing: McpListing, server: JsonObject): JsonObject[] {
  return listing.tools.map((tool) => JsonRecord.parse({ ...tool, tool_type: "mcp", server }));
}
