import { Client, ClientCredentialsProvider, SSEClientTransport } from "@modelcontextprotocol/client";
import { SdkHttpError, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { guardedFetch } from "../../outbound/guarded-fetch.ts";
import type { GuardedFetch } from "../../outbound/guarded-fetch.ts";
import { errorOfServer, notInTime } from "./server-error.ts";

/** Bytes of all bodies of one connection. */
const MAX_BYTES = 1024 * 1024;
/** The time in which a server may be told that its session is over. */
const GOODBYE_MS = 1_000;
/** A client that declares no capabilities: a server's requests for samples, roots or answers of people get an error, not silence. */
const CLIENT = { name: "synapse-edge", version: "1" };

type Transport = StreamableHTTPClientTransport | SSEClientTransport;
export type Connection = { client: Client; signal: AbortSignal; timeoutMs: number };

/** How to reach a server. `timeoutMs` is the time of the whole connection. */
export type ServerAccess = {
  server: McpServer;
  egress: Egress;
  timeoutMs: number;
  signal: AbortSignal;
  /** The context that the server gets with every request; absent: none. */
  traceparent?: string;
};

/**
 * Connects to an MCP server, uses the connection once, and ends it.
 *
 * Protocol 2026-07-28 has no sessions. A server that does not know it gets `initialize`, and a session of its own for this use: so a
 * server that has lost its sessions loses none of ours, except one that begins when it restarts, which is begun anew once. A server that
 * refuses the POST of the protocol gets the older transport, SSE.
 *
 * The client library waits for polling servers and for streams that were cut much longer than a call may take, so the time limit is
 * ours: it ends the connection whatever the library does.
 * @throws RetryableError, TerminalError and ToolRejection as errorOfServer says; an abort of `signal` throws its reason
 */
export async function withServer<Result>(
  access: ServerAccess,
  use: (connection: Connection) => Promise<Result>,
): Promise<Result> {
  const { server, egress, timeoutMs, signal } = access;
  signal.throwIfAborted();
  const timeout = AbortSignal.timeout(timeoutMs);
  const limit = AbortSignal.any([signal, timeout]);
  for (let isRepeated = false; ; isRepeated = true) {
    const exchange = guardedFetch(egress, MAX_BYTES, limit);
    const opened = new OpenedConnection(server, exchange, access.traceparent);
    try {
      return await endedBy(limit, opened.run({ timeoutMs, limit }, use));
    } catch (error) {
      signal.throwIfAborted();
      if (timeout.aborted) throw notInTime(server, timeoutMs, error);
      // The request was refused before it was read: a second one carries out nothing twice.
      if (!isRepeated && opened.hasLostSession(error)) continue;
      throw errorOfServer(server, error, exchange);
    } finally {
      await opened.close();
    }
  }
}

class OpenedConnection {
  readonly #server: McpServer;
  readonly #exchange: GuardedFetch;
  readonly #context: Readonly<Record<string, string>>;
  #client: Client | null = null;
  #transport: Transport | null = null;
  #isConnected = false;

  constructor(server: McpServer, exchange: GuardedFetch, traceparent: string | undefined) {
    this.#server = server;
    this.#exchange = exchange;
    this.#context = traceparent === undefined ? {} : { traceparent };
  }

  async run<Result>(
    { timeoutMs, limit }: { timeoutMs: number; limit: AbortSignal },
    use: (connection: Connection) => Promise<Result>,
  ): Promise<Result> {
    const options = { timeout: timeoutMs, signal: limit };
    try {
      await this.#connect(new StreamableHTTPClientTransport(this.#url, this.#options()), options);
    } catch (error) {
      if (!this.#refusesPost(error)) throw error;
      await this.#connect(new SSEClientTransport(this.#url, this.#options()), options);
    }
    if (this.#client === null) throw new Error("there is no client");
    this.#isConnected = true;
    return await use({ client: this.#client, signal: limit, timeoutMs });
  }

  /** A server with sessions answers 404 to a session that it does not have; the library reports the status alone. */
  hasLostSession(error: unknown): boolean {
    const hadSession =
      this.#transport instanceof StreamableHTTPClientTransport && this.#transport.sessionId !== undefined;
    return this.#isConnected && hadSession && error instanceof SdkHttpError && error.status === 404;
  }

  /** Ends the session, where there is one, and the connection. What the server says to it changes nothing. */
  async close(): Promise<void> {
    const transport = this.#transport;
    if (transport instanceof StreamableHTTPClientTransport && transport.sessionId !== undefined) {
      await endedBy(AbortSignal.timeout(GOODBYE_MS), transport.terminateSession()).catch(() => {});
    }
    await this.#client?.close().catch(() => {});
  }

  async #connect(transport: Transport, options: { timeout: number; signal: AbortSignal }): Promise<void> {
    await this.#client?.close().catch(() => {}); // a client connects once
    this.#client = new Client(CLIENT, {
      versionNegotiation: { mode: "auto" },
      inputRequired: { autoFulfill: false },
    });
    this.#transport = transport;
    await this.#client.connect(transport, options);
  }

  /** Servers that only know the older transport answer a POST to their address with one of these. */
  #refusesPost(error: unknown): boolean {
    return error instanceof SdkHttpError && [400, 404, 405].includes(error.status);
  }

  get #url(): URL {
    return new URL(this.#server.url);
  }

  /** The server's headers go to the server alone: the library would send them to an authorization server too. */
  #fetch(url: URL, init: RequestInit): Promise<Response> {
    if (url.origin === this.#url.origin) return this.#exchange.fetch(url, init);
    const headers = new Headers(init.headers);
    for (const name of Object.keys(this.#server.headers)) headers.delete(name);
    return this.#exchange.fetch(url, { ...init, headers });
  }

  #options() {
    const { headers, oauth } = this.#server;
    const credentials = oauth && {
      clientId: oauth.client_id,
      clientSecret: oauth.client_secret,
      expectedIssuer: oauth.issuer,
      ...(oauth.scope !== "" && { scope: oauth.scope }),
    };
    return {
      fetch: (url: string | URL, init: RequestInit = {}) => this.#fetch(new URL(url), init),
      requestInit: { headers: { ...this.#context, ...headers } },
      ...(credentials && { authProvider: new ClientCredentialsProvider(credentials) }),
    };
  }
}

/** The promise, or the reason of `limit` when that ends first. */
async function endedBy<Result>(limit: AbortSignal, promise: Promise<Result>): Promise<Result> {
  const { promise: ended, reject } = Promise.withResolvers<never>();
  const onEnd = (): void => reject(limit.reason);
  limit.addEventListener("abort", onEnd, { once: true });
  promise.catch(() => {}); // it may fail after the limit
  try {
    return await Promise.race([promise, ended]);
  } finally {
    limit.removeEventListener("abort", onEnd);
  }
}
