import http from "node:http";
import https from "node:https";
import type { LookupFunction } from "node:net";

/**
 * How a request is connected. `shared`: by a kept connection of this process, where one is free. `guarded`: by a new connection whose
 * address this resolver allows; a reused one would not pass the guard again.
 */
export type Connection = { is: "shared" } | { is: "guarded"; lookup: LookupFunction };

/** A server that does not take a connection in this time is away, however long an answer may take. */
const CONNECT_MS = 10_000;

/**
 * Makes one HTTP request. Resolves with the response as soon as its headers are there; the caller reads its body, or destroys it.
 * Redirects are not followed. An abort of `signal` ends the request and the response, and rejects with its reason.
 */
export function exchange(
  url: URL,
  init: RequestInit,
  connection: Connection,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const start = url.protocol === "https:" ? https.request : http.request;
  const request = start(url, {
    method: init.method ?? "GET",
    headers: {
      accept: "*/*",
      "accept-encoding": "identity",
      ...Object.fromEntries(new Headers(init.headers)),
    },
    ...(connection.is === "guarded" && { lookup: connection.lookup, agent: false }),
  });
  const onAbort = (): void => {
    reject(signal.reason);
    request.destroy();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const onClose = (): void => reject(new Error("the connection was closed without an answer"));
  limitConnecting(request);
  request.on("error", reject);
  request.once("close", onClose);
  request.once("upgrade", (_, socket) => {
    reject(new Error("the answer switches to another protocol"));
    socket.destroy();
  });
  request.once("response", (response) => {
    // The request may close while its response has not been read to the end.
    request.off("close", onClose);
    response.once("close", () => signal.removeEventListener("abort", onAbort));
    resolve(response);
  });
  request.end(bodyOf(init.body));
  return promise;
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
  request.once("socket", (socket) => {
    if (!socket.connecting) return;
    const late = new Error(`the server took no connection in ${CONNECT_MS / 1_000} s`);
    const timer = setTimeout(() => request.destroy(late), CONNECT_MS);
    const end = (): void => clearTimeout(timer);
    socket.once("connect", end);
    socket.once("close", end);
  });
}

/** Libraries of protocols and models send texts and forms. */
function bodyOf(body: RequestInit["body"]): string | undefined {
  if (body === null || body === undefined) return undefined;
  if (typeof body === "string") return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new TypeError("a request's body must be a text or a form");
}
