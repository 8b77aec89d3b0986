import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import { TerminalError } from "../engine/step-errors.ts";
import { decodedStream } from "./response-body.ts";
import type { Egress } from "./egress-guard.ts";

/** A fetch for protocol libraries, and what it observed of the exchanges that it made. */
export type GuardedFetch = {
  fetch(this: void, url: string | URL, init?: RequestInit): Promise<Response>;
  /** The first failure of an exchange itself: the guard's refusal, a connection that was lost, an answer that is too large. */
  failure: Error | null;
  /** The status and the headers of the last response, if it was no success. */
  refusal: { status: number; headers: Headers } | null;
};

/** Statuses whose response has no body, by the Fetch standard. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([101, 204, 205, 304]);

/**
 * A `fetch` through the egress guard. A response is returned with its headers, and its body is a stream.
 *
 * Each request is a new connection, so that each passes the guard. Redirects are not followed: the caller gets them as responses.
 * All bodies together may have `maxBytes` bytes, counted after decoding; more of them end with `answer_too_large`. `limit` ends
 * every exchange. No error quotes the request: its headers hold secrets.
 */
export function guardedFetch(egress: Egress, maxBytes: number, limit: AbortSignal): GuardedFetch {
  let leftBytes = maxBytes;
  const observed: GuardedFetch = {
    failure: null,
    refusal: null,
    async fetch(target, init = {}) {
      const url = new URL(target);
      const signal = init.signal ? AbortSignal.any([limit, init.signal]) : limit;
      try {
        signal.throwIfAborted();
        egress.check(url);
        const message = await exchange(url, init, egress, signal);
        const response = responseOf(message, count, fail);
        observed.refusal = response.ok ? null : { status: response.status, headers: response.headers };
        return response;
      } catch (error) {
        if (!signal.aborted) fail(error);
        throw error;
      }
    },
  };
  const fail = (error: unknown): void => {
    observed.failure ??= error instanceof Error ? error : new Error(String(error));
  };
  const count = (chunk: Uint8Array): void => {
    leftBytes -= chunk.byteLength;
    if (leftBytes >= 0) return;
    throw new TerminalError("answer_too_large", `the answer is larger than ${maxBytes} bytes`);
  };
  return observed;
}

function exchange(
  url: URL,
  init: RequestInit,
  egress: Egress,
  signal: AbortSignal,
): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  const start = url.protocol === "https:" ? https.request : http.request;
  const headers = { "accept-encoding": "identity", ...Object.fromEntries(new Headers(init.headers)) };
  const method = init.method ?? "GET";
  // No shared agent: a reused connection would not pass the guard again.
  const request = start(url, { method, headers, lookup: egress.lookup(signal), agent: false });
  const onAbort = (): void => {
    reject(signal.reason);
    request.destroy();
  };
  signal.addEventListener("abort", onAbort, { once: true });
  const onClose = (): void => reject(new Error("the connection was closed without an answer"));
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

/** Protocol libraries send texts and forms. */
function bodyOf(body: RequestInit["body"]): string | undefined {
  if (body === null || body === undefined) return undefined;
  if (typeof body === "string") return body;
  if (body instanceof URLSearchParams) return body.toString();
  throw new TypeError("a request's body must be a text or a form");
}

function responseOf(
  message: http.IncomingMessage,
  count: (chunk: Uint8Array) => void,
  fail: (error: unknown) => void,
): Response {
  const status = message.statusCode ?? 0;
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) {
    if (value !== undefined && name !== "content-encoding" && name !== "content-length")
      headers.append(name, String(value));
  }
  if (WITHOUT_BODY.has(status)) {
    message.resume();
    return new Response(null, { status, headers });
  }
  const body = Readable.from(counted(decodedStream(message), count, fail), { objectMode: false });
  return new Response(Readable.toWeb(body), { status, headers });
}

async function* counted(
  body: AsyncIterable<Uint8Array>,
  count: (chunk: Uint8Array) => void,
  fail: (error: unknown) => void,
): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of body) {
      count(chunk);
      yield chunk;
    }
  } catch (error) {
    fail(error);
    throw error;
  }
}
