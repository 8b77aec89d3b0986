import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { addCredential } from "../../../shared/contracts/definition/tool-secrets.ts";
import { log, messageOf } from "../../../shared/log.ts";
import type { StateStore } from "../../../shared/store/state.ts";
import { abortable } from "../../execution/stop.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { guardedFetch } from "../../outbound/guarded-fetch.ts";
import { KeptConnections } from "../../outbound/kept-connections.ts";
import type { Connected, ServerConnection } from "./connection.ts";
import { RetryableError } from "../../engine/step-errors.ts";
import { IdleConnections } from "./idle-connections.ts";
import type { UsedServer } from "./idle-connections.ts";
import type { StdioCommands } from "./stdio.ts";
import type { OAuthTokens } from "./oauth-tokens.ts";

/** Bytes of all bodies of one call. */
const MAX_BYTES = 1024 * 1024;
/** How often the rows of the servers are compared with the connections that are kept, and idle connections are closed. */
const CHECK_MS = 10_000;
/** The most processes of servers of type stdio, idle ones included; and the pause before a call is tried again when all are at work. */
const MAX_PROCESSES = 8;
const BUSY_MS = 2_000;
/**
 * How long a TCP connection waits for the next request. A call is not sent again, so the worker closes a connection before its server
 * does: the shortest default that is known is two seconds (gunicorn).
 */
const IDLE_MS = 1_500;
/** The most servers whose access tokens are kept. */
const MAX_TOKENS = 256;

/**
 * How to reach a server. `mayKeep`: the connection may be kept for the next call. `onToolsChanged`: called when the server says that its
 * tools have changed, for as long as the connection lasts.
 */
export type ServerAccess = {
  server: McpServer;
  used: UsedServer;
  timeoutMs: number;
  signal: AbortSignal;
  mayKeep: boolean;
  /** A session that an earlier connection has left open, which the call needs; null: the call needs none. */
  session: string | null;
  onToolsChanged(): void;
  /** The context that the server gets with every request; absent: none. */
  traceparent?: string | undefined;
};
type PoolDeps = {
  egress: Egress;
  store: Pick<StateStore, "readMcpVersions">;
  stdio?: StdioCommands;
  connections?: KeptConnections;
};
/** A server, and the connections by which a worker reaches it. */
export type ReachedServer = { access: ServerAccess; pool: ConnectionPool };

/**
 * The connections of a worker to MCP servers, kept so that not each call begins a session at its server. One call at a time uses a
 * connection. A connection is only used by one tenant, with one version of the row of its server: what the server keeps in a session stays
 * between them.
 *
 * An idle connection is closed after a minute, and by the next check when its row has changed or is gone, which is `CHECK_MS` later at
 * most.
 */
export class ConnectionPool {
  readonly #egress: Egress;
  readonly #store: Pick<StateStore, "readMcpVersions">;
  readonly #stdio: StdioCommands;
  readonly #connections: KeptConnections;
  readonly #processes = new Set<ServerConnection>();
  readonly #idle = new IdleConnections((connection) => this.#processes.delete(connection));
  readonly #tokens = new Map<string, { used: UsedServer; tokens: OAuthTokens }>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor({ egress, store, stdio = {}, connections }: PoolDeps) {
    this.#stdio = stdio;
    this.#egress = egress;
    this.#store = store;
    this.#connections = connections ?? new KeptConnections({ idleMs: IDLE_MS });
  }

  /**
   * Uses a server once. When the server has lost the session of the connection, the use is repeated once with a new session.
   *
   * The client library may wait much longer than a call may take, for polling servers and for streams that were cut. So the limit is not
   * the library's: the connection is closed when the time is over.
   * @throws RetryableError, TerminalError and ToolRejection as `errorOfServer` says; an abort of `signal` throws its reason
   */
  async use<Result>(access: ServerAccess, use: (connected: Connected) => Promise<Result>): Promise<Result> {
    const { server, timeoutMs, signal, traceparent } = access;
    signal.throwIfAborted();
    const { isAnswer, errorOfServer, notInTime } = await library();
    const timeout = AbortSignal.timeout(timeoutMs);
    const limit = AbortSignal.any([signal, timeout]);
    for (let isRepeated = false; ; isRepeated = true) {
      const connections = this.#connections.of(access.used.tenant);
      const exchange = guardedFetch({ egress: this.#egress, connections }, MAX_BYTES, limit);
      const kept = isRepeated || access.session !== null ? null : this.#idle.take(access.used);
      if (kept?.isReusable === false) await this.#end(kept);
      const connection = kept?.isReusable === true ? kept : await this.#connection(access);
      let isInOrder = false;
      try {
        const using = connection.run({ exchange, signal: limit, timeoutMs, traceparent }, use);
        const result = await abortable(limit, using).finally(() => this.#addTokens(access));
        isInOrder = true;
        return result;
      } catch (error) {
        isInOrder = isAnswer(error);
        signal.throwIfAborted();
        if (timeout.aborted) throw notInTime(server, timeoutMs, error);
        if (!isRepeated && connection.hasLostSession(error, kept !== null)) continue;
        throw errorOfServer(server, error, exchange);
      } finally {
        await this.#release(access, connection, isInOrder);
      }
    }
  }

  /** Closes idle connections; those in use are closed after their calls. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#timer);
    await this.#idle.closeOf(() => true);
  }

  /** Closes what is idle for long, and what belongs to a row that has changed or is gone. */
  async check(): Promise<void> {
    await this.#idle.closeOld(performance.now());
    const used = [...this.#idle.used, ...[...this.#tokens.values()].map((known) => known.used)];
    const names = new Map(
      used.map(({ owner, name }) => [JSON.stringify([owner, name]), { owner, id: name }]),
    );
    if (names.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const versions = await this.#store.readMcpVersions([...names.values()]);
    const current = new Set(versions.map(({ owner, id, version }) => rowOf({ owner, name: id, version })));
    const isOver = (one: UsedServer): boolean => !current.has(rowOf(one));
    for (const [row, known] of this.#tokens) if (isOver(known.used)) this.#tokens.delete(row);
    await this.#idle.closeOf(isOver);
  }

  async #connection(access: ServerAccess): Promise<ServerConnection> {
    const { server, used, session, mayKeep: isKept, onToolsChanged } = access;
    const { Connection } = await library();
    const tokens = server.oauth === null ? null : await this.#tokensOf(server.oauth, used);
    const auth = tokens?.forConnection() ?? null;
    const isProcess = server.server_type === "stdio";
    if (isProcess && this.#processes.size >= MAX_PROCESSES) await this.#idle.closeOf(() => true);
    if (isProcess && this.#processes.size >= MAX_PROCESSES) {
      const message = `the worker has ${MAX_PROCESSES} processes of MCP servers, which are all at work`;
      throw new RetryableError("tool_unavailable", message, { retryAfterMs: BUSY_MS, answered: true });
    }
    const connection = new Connection({
      server,
      egress: this.#egress,
      connections: this.#connections.of(used.tenant),
      stdio: this.#stdio,
      auth,
      session,
      isKept,
      onToolsChanged,
    });
    if (isProcess) this.#processes.add(connection);
    return connection;
  }

  async #tokensOf(oauth: NonNullable<McpServer["oauth"]>, used: UsedServer): Promise<OAuthTokens> {
    const { Tokens } = await library();
    const row = rowOf(used);
    const known = this.#tokens.get(row);
    if (known !== undefined) return known.tokens;
    const tokens = new Tokens(oauth);
    const [oldest] = this.#tokens.keys();
    if (this.#tokens.size >= MAX_TOKENS && oldest !== undefined) this.#tokens.delete(oldest);
    this.#tokens.set(row, { used, tokens });
    this.#startChecks();
    return tokens;
  }

  /** A server may quote the access token that it received. */
  #addTokens({ server, used }: ServerAccess): void {
    for (const token of this.#tokens.get(rowOf(used))?.tokens.issued ?? []) addCredential(server, token);
  }

  async #release(
    { used, mayKeep }: ServerAccess,
    connection: ServerConnection,
    isInOrder: boolean,
  ): Promise<void> {
    if (!mayKeep || !isInOrder || !connection.isReusable || this.#isClosed) return this.#end(connection);
    await this.#idle.keep(used, connection, performance.now());
    this.#startChecks();
  }

  async #end(connection: ServerConnection): Promise<void> {
    await connection.close();
    this.#processes.delete(connection);
  }

  #startChecks(): void {
    if (this.#isClosed) return;
    this.#timer ??= setInterval(() => {
      // A check that fails is made again: while the store is away, no row changes either.
      this.check().catch((error: unknown) => log.warn("mcp.check_failed", { message: messageOf(error) }));
    }, CHECK_MS).unref();
  }
}

/** The client library takes 14 MiB of memory, which a worker without MCP servers does not need. */
async function library() {
  const { ServerConnection: Connection, isAnswer } = await import("./connection.ts");
  const { errorOfServer, notInTime } = await import("./server-error.ts");
  const { OAuthTokens: Tokens } = await import("./oauth-tokens.ts");
  return { Connection, isAnswer, errorOfServer, notInTime, Tokens };
}

/** The version of a row, which several tenants may use. */
function rowOf({ owner, name, version }: Omit<UsedServer, "tenant">): string {
  return JSON.stringify([owner, name, version]);
}
