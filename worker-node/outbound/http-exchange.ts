import http from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";
import type { TenantConnections } from "./kept-connections.ts";

/**
 * How a request is connected. `shared`: by a kept connection of this process, where one is free. `guarded`: by a new connection whose
 * address this resolver allows. `kept`: by a connection that such a resolver has allowed for an earlier request, or else by a new
 * one. `mayRepeat`: the server may get the request twice.
 */
export type Connection =
  | { is: "shared" }
  | { is: "guarded"; lookup: LookupFunction }
  | { is: "kept"; lookup: LookupFunction; connections: TenantConnections; mayRepeat: boolean };

/** What is sent to a URL. */
export type Outgoing = {
  method: string;
  headers: Readonly<Record<string, string>>;
  body: string | null;
};

/** GitHub, Wikimedia and others refuse a request that does not say who sends it. */
const USER_AGENT = "synapse-edge";

/** Servers send policies and cookies of more than Node's limit of 16 KiB. */
const MAX_HEADER_BYTES = 64 * 1024;

/** A server that does not take a connection in this time is away, however long an answer may take. */
const CONNECT_MS = 10_000;

/**
 * How long one address of a name may take to connect before the next one is tried. Node gives each but the last 250 ms and then gives it up:
 * a server on the other side of the world, or behind a lost packet, could not be reached where its IPv6 address has no route.
 */
export const ATTEMPT_MS = 2_500;

const LIMITS = { maxHeaderSize: MAX_HEADER_BYTES, autoSelectFamilyAttemptTimeout: ATTEMPT_MS };

/** The response switches to another protocol (101). Its connection is closed. */
export class ProtocolSwitch extends Error {
  readonly response: http.IncomingMessage;

  constructor(response: http.IncomingMessage) {
    super("the answer switches to another protocol");
    this.response = response;
  }
}

/**
 * Makes one HTTP request. Resolves with the response as soon as its headers are there; the caller reads its body, or destroys it.
 * Redirects are not followed. An abort of `signal` ends the request and the response, and rejects with its reason.
 *
 * A request that may be repeated, and whose kept connection the server closes without a response, is sent once more, over a new
 * connection. Any other one fails: the server may have read it.
 *
 * undici was tried twice and dropped: it takes some 40 us less a call, of which a whole worker gains nothing (docs/performance.md), but
 * it reports a 101 only by the text of an error, fails a response after a 100 that it has not asked for, and refuses headers that tools
 * may set (`expect`, `upgrade`, `keep-alive`).
 * @throws ProtocolSwitch; the error of the connection
 */
export async function exchange(
  url: URL,
  outgoing: Outgoing,
  connection: Connection,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const isTls = url.protocol === "https:";
  const start = isTls ? https.request : http.request;
  const agent = connection.is === "kept" && connection.connections.agentOf(url, connection);
  const { method, headers, body } = outgoing;
  const guarded = connection.is === "shared" ? {} : { lookup: connection.lookup, agent };
  const request = start({ ...targetOf(url), method, headers, ...LIMITS, ...guarded });
  const onAbort = (): void => {
    reject(signal.reason);
    request.destroy();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  let isAnswered = false;
  const stopListening = (): void => signal.removeEventListener("abort", onAbort);
  limitConnecting(request);
  // With `on`, not with `once`, which makes a function for each event and removes it again: each event but `error` comes once.
  request.on("error", reject);
  request.on("close", () => {
    // Node ends some requests without an error. A request may close while its response has not been read to the end.
    if (!isAnswered) reject(new Error("the connection was closed without an answer"));
  });
  request.on("upgrade", (response, socket) => {
    reject(new ProtocolSwitch(response));
    socket.destroy();
  });
  request.on("response", (response) => {
    isAnswered = true;
    response.on("close", stopListening);
    resolve(response);
  });
  if (!request.hasHeader("user-agent")) request.setHeader("user-agent", USER_AGENT);
  // Of a DELETE Node sends the body without its length: a server takes it for another request.
  if (body !== null) request.setHeader("content-length", Buffer.byteLength(body));
  request.end(body ?? undefined);
  try {
    return await promise;
  } catch (error) {
    stopListening();
    if (
      connection.is !== "kept" ||
      !request.reusedSocket ||
      signal.aborted ||
      error instanceof ProtocolSwitch
    )
      throw error;
    connection.connections.distrust(url);
    if (!connection.mayRepeat) throw error;
    return exchange(url, outgoing, { is: "guarded", lookup: connection.lookup }, signal);
  }
}

/**
 * The parts of a URL that `node:http` needs. Given the URL itself, it would copy that with all of its fields, which takes a sixth of the
 * time of a short request.
 */
function targetOf({
  protocol,
  hostname,
  port,
  pathname,
  search,
  username,
  password,
}: URL): http.RequestOptions {
  const auth =
    username + password === ""
      ? {}
      : { auth: `${decodeURIComponent(username)}:${decodeURIComponent(password)}` };
  return { protocol, hostname: hostname.replace(/^\[|\]$/g, ""), port, path: pathname + search, ...auth };
}

/** What a library sends with `fetch`. */
export function outgoingOf(init: RequestInit): Outgoing {
  const defaults = { accept: "*/*", "accept-encoding": "identity" };
  return {
    method: init.method ?? "GET",
    headers: { ...defaults, ...Object.fromEntries(new Headers(init.headers)) },
    body: bodyOf(init.body),
  };
}

/** The status of a response. One that HTTP does not have, such as 999, counts as an error of the server (RFC 9110, 15): `Response` takes none. */
export function standardStatus({ statusCode = 0 }: http.IncomingMessage): number {
  return statusCode >= 200 && statusCode <= 599 ? statusCode : 500;
}

/** The headers of a response whose body is decoded: its length and its encoding are of the body as it was sent. */
export function headersOf(response: http.IncomingMessage): Headers {
  const headers = new Headers();
  for (const [name, value] of Object.entries(response.headers)) {
    if (value !== undefined && name !== "content-encoding" && name !== "content-length")
      headers.append(name, String(value));
  }
  return headers;
}

function limitConnecting(request: http.ClientRequest): void {
  request.on("socket", (socket) => {
    if (!socket.connecting) return;
    const message = `the server took no connection in ${CONNECT_MS / 1_000} s`;
    const late = Object.assign(new Error(message), { code: "ETIMEDOUT", syscall: "connect" });
    const timer = setTimeout(() => request.destroy(late), CONNECT_MS);
    const end = (): void => clearTimeout(timer);
    socket.once("connect", end);
    socket.once("close", end);
  });
}

/** Libraries of protocols and models send texts and forms. */
function bodyOf(body: RequestInit["body"]): string | null {
  if (body === null || body === undefined) return null;
  if (typeof body === "string") return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new TypeError("a request's body must be a text or a form");
}
