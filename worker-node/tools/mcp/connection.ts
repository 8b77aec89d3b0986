import { randomInt } from "node:crypto";
import { Client, ProtocolError, SdkError, SdkErrorCode } from "@modelcontextprotocol/client";
import {
  SSEClientTransport,
  SdkHttpError,
  StreamableHTTPClientTransport,
} from "@modelcontextprotocol/client";
import type { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import type { AuthProvider, JSONRPCMessage, Transport as AnyTransport } from "@modelcontextprotocol/client";
import type { McpServer } from "../../../shared/contracts/definition/index.ts";
import { log, messageOf } from "../../../shared/log.ts";
import { abortable } from "../../execution/stop.ts";
import type { Egress } from "../../outbound/egress-guard.ts";
import { guardedFetch } from "../../outbound/guarded-fetch.ts";
import type { GuardedFetch } from "../../outbound/guarded-fetch.ts";
import type { TenantConnections } from "../../outbound/kept-connections.ts";
import { keepDigits } from "./kept-digits.ts";
import {
  LostAnswer,
  endedStream,
  isNotification,
  isRequest,
  observeStream,
  observeStreams,
} from "./lost-answers.ts";
import type { LossObserver } from "./lost-answers.ts";
import { readable } from "./readable-messages.ts";
import { readableResponse } from "./readable-response.ts";
import { mayRepeat } from "./repeatable.ts";
import { stdioTransport } from "./stdio.ts";
import type { StdioCommands } from "./stdio.ts";
import { withTaskAsResult } from "./protocol.ts";

/** The most bytes of the notices of one connection. A notice only says that the tools have changed. */
const MAX_NOTICE_BYTES = 256 * 1024;
/** The limit of each message that ends something at the server: a call, or the session. */
const LAST_MESSAGE_MS = 1_000;
/**
 * A client that declares no capabilities when it connects: an older server that asks for samples, roots or answers of people gets an
 * error, not silence. Protocol 2026-07-28 declares capabilities with each request.
 */
const CLIENT = { name: "synapse-edge", version: "1" };

/** The only older protocol with tasks, for which sessions are left open. */
const OLDER_PROTOCOL = "2025-11-25";

type Transport = StreamableHTTPClientTransport | SSEClientTransport | StdioClientTransport;
/** A connected client, for one use: `signal` and `timeoutMs` limit the use. */
export type Connected = {
  client: Client;
  signal: AbortSignal;
  timeoutMs: number;
  /** Leaves the session open when the connection is closed, for another connection. @returns its id; null: there is none */
  leaveOpen(): string | null;
  /** What the server keeps of a call ends with the connection: it is a process, or has the older transport. */
  endsWithConnection: boolean;
};
/** One use of a connection: its exchanges, and its limits. */
export type Use = {
  exchange: GuardedFetch;
  signal: AbortSignal;
  timeoutMs: number;
  /** The context that the server gets with every request; absent: none. */
  traceparent?: string | undefined;
};

/** The limits of a connection's first use, which connects. */
type Limits = { timeout: number; signal: AbortSignal };

export type ConnectionDeps = {
  server: McpServer;
  egress: Egress;
  /** The TCP connections that the tenant's requests share. */
  connections: TenantConnections;
  stdio: StdioCommands;
  /** The session of protocol 2025-11-25 that the connection goes on with; null: it begins its own. */
  session: string | null;
  /** Gives the tokens of a server behind OAuth; null: the server needs none. */
  auth: AuthProvider | null;
  /** Further calls will use the connection, so it receives the server's notices. */
  isKept: boolean;
  /** Called when the server says that its tools have changed. */
  onToolsChanged(): void;
};

/**
 * A connection to an MCP server, which one call at a time uses: so the bytes, the time and the failures of each exchange are those of
 * one call. It connects at its first use.
 *
 * Protocol 2026-07-28 has no sessions. A server that does not know it gets `initialize`, and the connection has a session. A server
 * that refuses the POST of the protocol gets the older transport, SSE.
 */
export class ServerConnection {
  readonly #deps: ConnectionDeps;
  readonly #closing = new AbortController();
  /** The exchanges of the server's notices, which belong to no call. */
  readonly #notices: GuardedFetch;
  #exchange: GuardedFetch;
  #traceparent: string | undefined;
  /** Whether the server has opened the stream of its notices, over which older servers may send answers too. */
  #hasStream: Promise<boolean> = Promise.resolve(false);
  /** Ends the use that is under way. */
  #lose: (error: LostAnswer) => void = () => {};
  #client: Client | null = null;
  #transport: Transport | null = null;
  #isConnected = false;
  /** Resolves when the server has the notice that a call is cancelled, or does not take it. */
  #cancellation: Promise<void> = Promise.resolve();
  #isLeftOpen = false;
  /** The library has closed the client: the process of the server has ended. */
  #isClientClosed = false;
  /** When the connection was made, by the monotonic clock. */
  readonly madeMs = performance.now();

  constructor(deps: ConnectionDeps) {
    this.#deps = deps;
    this.#notices = guardedFetch(deps, MAX_NOTICE_BYTES, this.#closing.signal);
    this.#exchange = this.#notices;
  }

  /** Makes one use of the connection, and connects first where that is not done yet. */
  async run<Result>(
    { exchange, signal, timeoutMs, traceparent }: Use,
    use: (connected: Connected) => Promise<Result>,
  ): Promise<Result> {
    this.#exchange = exchange;
    this.#traceparent = traceparent;
    const lost = Promise.withResolvers<never>();
    this.#lose = lost.reject;
    return Promise.race([this.#use({ signal, timeoutMs }, use), lost.promise]);
  }

  async #use<Result>(
    { signal, timeoutMs }: Pick<Use, "signal" | "timeoutMs">,
    use: (connected: Connected) => Promise<Result>,
  ): Promise<Result> {
    if (!this.#isConnected) await this.#open({ timeout: timeoutMs, signal });
    if (this.#client === null) throw new Error("there is no client");
    const endsWithConnection = !(this.#transport instanceof StreamableHTTPClientTransport);
    const leaveOpen = () => this.#leaveOpen();
    return use({ client: this.#client, signal, timeoutMs, leaveOpen, endsWithConnection });
  }

  /** Whether another call may use the connection. The stream of the older transport breaks without an error, so it serves one call. */
  get isReusable(): boolean {
    const hasStream = this.#transport instanceof SSEClientTransport;
    if (this.#isLeftOpen || this.#isClientClosed) return false;
    return this.#isConnected && !hasStream && this.#notices.failure === null && !this.#closing.signal.aborted;
  }

  /**
   * Whether the server has lost the session of the connection: it answers 404, and some servers answer 400 after a restart. The
   * request was refused before it was read, so a second one carries out nothing twice.
   * @param isReused an earlier call has used the connection
   */
  hasLostSession(error: unknown, isReused: boolean): boolean {
    const hadSession =
      this.#transport instanceof StreamableHTTPClientTransport && this.#transport.sessionId !== undefined;
    const statuses = isReused ? [400, 404] : [404];
    return (
      this.#isConnected && hadSession && error instanceof SdkHttpError && statuses.includes(error.status)
    );
  }

  /**
   * Ends the session, where there is one, and the connection, after the server has the notice of a cancelled call. A refusal by the server
   * changes nothing.
   */
  async close(): Promise<void> {
    const transport = this.#transport;
    const hasSession =
      transport instanceof StreamableHTTPClientTransport && transport.sessionId !== undefined;
    await this.#cancellation;
    if (hasSession && !this.#isLeftOpen) {
      await this.#lastMessage(() => transport.terminateSession());
    }
    this.#closing.abort(new Error("the connection is closed"));
    await this.#client?.close().catch(() => {});
  }

  /** Sends a message in a time of its own, because that of the call may be over. A failure changes nothing. */
  async #lastMessage(send: () => Promise<void>): Promise<void> {
    const limit = AbortSignal.timeout(LAST_MESSAGE_MS);
    this.#exchange = guardedFetch(this.#deps, MAX_NOTICE_BYTES, limit);
    await abortable(limit, send()).catch(() => {});
  }

  #leaveOpen(): string | null {
    this.#isLeftOpen = true;
    return this.#transport instanceof StreamableHTTPClientTransport
      ? (this.#transport.sessionId ?? null)
      : null;
  }

  async #open(options: Limits): Promise<void> {
    const { server, stdio } = this.#deps;
    if (server.server_type === "stdio") await this.#connect(stdioTransport(server, stdio), options);
    else await this.#openRemote(options);
    this.#isConnected = true;
    if (this.#deps.isKept) this.#listen();
  }

  async #openRemote(options: Limits): Promise<void> {
    const streamable = () => new StreamableHTTPClientTransport(this.#url, this.#options());
    try {
      try {
        await this.#connect(streamable(), options);
      } catch (error) {
        if (this.#exchange.failure !== null || !isProbeWithoutVerdict(error)) throw error;
        await this.#connect(streamable(), options, "legacy");
      }
    } catch (error) {
      if (!(error instanceof SdkHttpError) || !refusesPost(error)) throw error;
      // Servers of this transport are older than protocol 2026-07-28, and many never answer the question for it.
      await this.#connect(new SSEClientTransport(this.#url, this.#options()), options, "legacy");
    }
  }

  /** @param mode `auto`: the server is asked for protocol 2026-07-28 first, for half of the time at most */
  async #connect(
    transport: Transport,
    options: Limits,
    mode: "auto" | "legacy" = this.#deps.session === null ? "auto" : "legacy",
  ): Promise<void> {
    await this.#client?.close().catch(() => {}); // a client connects once
    const client = new Client(CLIENT, {
      versionNegotiation: { mode, probe: { timeoutMs: options.timeout / 2 } },
      inputRequired: { autoFulfill: false },
    });
    client.setNotificationHandler("notifications/tools/list_changed", () => this.#deps.onToolsChanged());
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the library has callbacks, and no events
    client.onclose = () => (this.#isClientClosed = this.#client === client);
    this.#client = client;
    this.#transport = transport;
    const lost = Promise.withResolvers<never>();
    const loseAnswer = this.#lose;
    this.#lose = lost.reject;
    const losses: LossObserver = { exchange: () => this.#exchange, loserOfUse: () => this.#lose };
    if (transport instanceof StreamableHTTPClientTransport) observeStreams(transport, losses);
    if (transport instanceof SSEClientTransport) observeStream(transport, losses);
    // Gateways such as supergateway send each answer to all their clients, which tell them apart by the ids of their requests alone.
    Object.assign(client, { _requestMessageId: randomInt(2 ** 30) });
    try {
      await Promise.race([client.connect(transport, options), lost.promise]);
    } finally {
      this.#lose = loseAnswer;
    }
    // The stream of the older transport belongs to the call, and its end is the end of the server's session.
    if (!(transport instanceof SSEClientTransport)) this.#keepCancellations(transport);
    const deliver = transport.onmessage;
    // oxlint-disable-next-line unicorn/prefer-add-event-listener -- the library has callbacks, and no events
    transport.onmessage = (message: JSONRPCMessage) => deliver?.(readable(withTaskAsResult(message)));
  }

  /**
   * Lets the notice that a call is cancelled reach the server. The library sends it when the signal of the call is aborted, which also ends
   * the exchanges of the call. Without the notice an older server works on: to it, a closed connection is no cancel.
   */
  #keepCancellations(transport: AnyTransport): void {
    const send = transport.send.bind(transport);
    transport.send = (message, options) => {
      const isCancellation = "method" in message && message.method === "notifications/cancelled";
      if (!isCancellation) return send(message, options);
      this.#cancellation = this.#lastMessage(() => send(message, options));
      return this.#cancellation;
    };
  }

  /** Protocol 2026-07-28 sends notices to clients that ask for them; older servers send them unasked. */
  #listen(): void {
    const client = this.#client;
    if (client?.getProtocolEra() !== "modern" || !client.getServerCapabilities()?.tools?.listChanged) return;
    // Without notices a listing is renewed by its age.
    client
      .listen({ toolsListChanged: true })
      .catch((error: unknown) =>
        log.info("mcp.no_notices", { server: this.#deps.server.name, message: messageOf(error) }),
      );
  }

  get #url(): URL {
    return new URL(this.#deps.server.url);
  }

  /** The server's headers go to the server alone: the library would send them to an authorization server too. */
  #fetch(url: URL, init: RequestInit): Promise<Response> {
    const headers = new Headers(init.headers);
    if (isForNotices(init, headers)) {
      const opened = this.#send(this.#notices, url, init, headers);
      if (init.method === "GET")
        this.#hasStream = opened.then(
          ({ ok }) => ok,
          () => false,
        );
      return opened;
    }
    const context = this.#traceparent;
    if (context !== undefined && !headers.has("traceparent")) headers.set("traceparent", context);
    return this.#send(this.#exchange, url, init, headers);
  }

  async #send(exchange: GuardedFetch, url: URL, init: RequestInit, headers: Headers): Promise<Response> {
    const request = { ...init, headers };
    const sentAs = { mayRepeat: mayRepeat(init) };
    if (url.origin === this.#url.origin) {
      const response = await exchange.fetch(url, request, sentAs);
      if (isForToken(init, headers)) return response;
      // A server that refuses a notification may answer the next request. If it has lost the session, it refuses that too.
      if (refusesPost(response) && isNotification(init)) return drained(response, 202);
      // The library repeats a POST within its origin as 308 says. After 301 and 302 the server has not read it either.
      if ((response.status === 301 || response.status === 302) && init.method === "POST")
        return drained(response, 308);
      const isAccepted = response.status === 202 && this.#transport instanceof StreamableHTTPClientTransport;
      if (isAccepted && isRequest(init) && !(await this.#hasStream)) return endedStream(response);
      return init.method === "POST" ? readableResponse(response) : keepDigits(response);
    }
    headers.delete("traceparent");
    for (const name of Object.keys(this.#deps.server.headers)) headers.delete(name);
    return exchange.fetch(url, request, sentAs);
  }

  #options() {
    const { server, auth, session: sessionId } = this.#deps;
    return {
      ...(sessionId !== null && { sessionId, protocolVersion: OLDER_PROTOCOL }),
      fetch: (url: string | URL, init: RequestInit = {}) => this.#fetch(new URL(url), init),
      requestInit: { headers: server.headers },
      ...(auth && { authProvider: auth }),
    };
  }
}

/** The server has understood the request and refuses it: the connection is in order. */
export function isAnswer(error: unknown): boolean {
  return error instanceof ProtocolError;
}

/**
 * Whether a server has not said which protocol it speaks. Older servers reply anything to a method that they do not know, before
 * `initialize`: 500, an error without the id of the request, a page, a stream without an answer, or nothing. The library falls back to
 * the older protocol only for other replies.
 */
function isProbeWithoutVerdict(error: unknown): boolean {
  if (error instanceof LostAnswer) return true;
  if (!(error instanceof SdkError)) return false;
  if (error.code === SdkErrorCode.RequestTimeout) return true;
  const isOpen = error.code === SdkErrorCode.EraNegotiationFailed;
  return isOpen && (!(error instanceof SdkHttpError) || error.status === 500 || error.status === 501);
}

/** Servers that only know the older transport answer a POST to their address with one of these. */
function refusesPost({ status }: { status?: number | undefined }): boolean {
  return status === 400 || status === 404 || status === 405;
}

/** Whether a request is a form for the authorization server, which often has the server's origin, and no message. */
function isForToken({ method }: RequestInit, headers: Headers): boolean {
  return method === "POST" && headers.get("content-type") === "application/x-www-form-urlencoded";
}

/** The response without its body, and with another status. */
async function drained({ body, headers }: Response, status: number): Promise<Response> {
  await body?.cancel();
  return new Response(null, { status, headers });
}

/** Whether a request opens a stream that outlives the call during which it is sent. */
function isForNotices({ method = "GET" }: RequestInit, headers: Headers): boolean {
  if (headers.get("mcp-method") === "subscriptions/listen") return true;
  const resumes = headers.has("last-event-id");
  return method === "GET" && headers.has("mcp-session-id") && !resumes;
}
