import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { TerminalError } from "../engine/step-errors.ts";
import type { Egress } from "./egress-guard.ts";
import { exchange, headersOf, outgoingOf, standardStatus } from "./http-exchange.ts";
import type { TenantConnections } from "./kept-connections.ts";
import { decodedStream } from "./response-body.ts";

/** A fetch for protocol libraries, and what it observed of the exchanges that it made. */
export type GuardedFetch = {
  /** @param options `mayRepeat`: the server may get the request twice; absent: it may not */
  fetch(
    this: void,
    url: string | URL,
    init?: RequestInit,
    options?: { mayRepeat: boolean },
  ): Promise<Response>;
  /** The first failure of an exchange itself: the guard's refusal, a connection that was lost, an answer that is too large. */
  failure: Error | null;
  /** The status and the headers of the last response, if it was no success. */
  refusal: { status: number; headers: Headers } | null;
};

/** Statuses whose response has no body, by the Fetch standard. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 205, 304]);

/**
 * A `fetch` through the egress guard. A response is returned with its headers, and its body is a stream.
 *
 * Requests use the kept connections, and new ones that the guard allows. A kept connection that the server closes without a response fails
 * a request that must not be repeated. Redirects are not followed: the caller gets them as responses. All bodies together may have `maxBytes` bytes, counted after decoding; more of them end with `answer_too_large`. `limit` ends
 * every exchange. No error quotes the request: its headers hold secrets.
 */
export function guardedFetch(
  { egress, connections }: { egress: Egress; connections: TenantConnections },
  maxBytes: number,
  limit: AbortSignal,
): GuardedFetch {
  let leftBytes = maxBytes;
  const observed: GuardedFetch = {
    failure: null,
    refusal: null,
    async fetch(target, init = {}, { mayRepeat } = { mayRepeat: false }) {
      const url = new URL(target);
      const signal = init.signal ? AbortSignal.any([limit, init.signal]) : limit;
      try {
        signal.throwIfAborted();
        egress.check(url);
        const connection = {
          is: "kept" as const,
          lookup: egress.lookup(signal),
          connections,
          mayRepeat,
        };
        const message = await exchange(url, outgoingOf(init), connection, signal);
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

function responseOf(
  message: IncomingMessage,
  count: (chunk: Uint8Array) => void,
  fail: (error: unknown) => void,
): Response {
  const head = { status: standardStatus(message), headers: headersOf(message) };
  if (WITHOUT_BODY.has(head.status)) {
    message.resume();
    return new Response(null, head);
  }
  const body = Readable.from(counted(decodedStream(message), count, fail), { objectMode: false });
  return new Response(Readable.toWeb(body), head);
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
