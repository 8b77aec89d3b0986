import type http from "node:http";
import { dispositionName } from "../../shared/http/content-disposition.ts";
import { RetryableError, TerminalError } from "../engine/step-errors.ts";
import { namedCause } from "./named-cause.ts";
import { exchange, ProtocolSwitch } from "./http-exchange.ts";
import { decodedStream, readBody } from "./response-body.ts";
import type { Egress } from "./egress-guard.ts";
import type { TenantConnections } from "./kept-connections.ts";

/** One HTTP request to the outside. */
export type OutboundRequest = {
  url: URL;
  method: string;
  headers: Readonly<Record<string, string>>;
  body: string | null;
  /** Limit of the whole exchange, from the connection to the end of the response. */
  timeoutMs: number;
  /** The code of the error when that limit is reached. */
  timeoutCode: string;
  /**
   * A longer response body fails the exchange, where the status is a success; the body of a refusal is left out instead.
   * `ignored`: the exchange ends with the response's headers.
   */
  maxResponseBytes: number | "ignored";
  /**
   * Where the body of a success goes as it arrives, decoded; then the response has none, and `timeoutMs` limits the wait for the
   * headers and for each piece of the body. What it throws is thrown.
   */
  sink?: (body: AsyncIterable<Uint8Array>, headers: OutboundResponse["headers"]) => Promise<void>;
  signal: AbortSignal;
  /**
   * Connections of earlier requests that this one may use. Only for a request that the server may get twice: where the server closes
   * such a connection without a response, the request is sent once more, over a new one. Absent: a new connection.
   */
  connections?: TenantConnections;
};

/** A response. `headers`: by names in lower case. `body`: decoded, as text. */
export type OutboundResponse = { status: number; headers: Readonly<Record<string, string>>; body: string };

/**
 * Sends one HTTP request to the outside, through the egress guard. Redirects are not followed: the caller gets them as
 * responses. A switch to another protocol (101) is a response too, and ends the connection.
 *
 * Fails with the TerminalErrors `egress_blocked`, `answer_too_large` and `answer_encoding`, or with the RetryableErrors `unreachable` and
 * `timeoutCode`. An abort of `signal` throws its reason. No error quotes the request: its headers hold secrets.
 */
export async function send(request: OutboundRequest, egress: Egress): Promise<OutboundResponse> {
  const { url, timeoutMs, timeoutCode, signal } = request;
  egress.check(url);
  signal.throwIfAborted();
  const silence = new SilenceTimeout(timeoutMs, signal);
  try {
    return await sendAndRead(request, egress, silence);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TerminalError || error instanceof RetryableError) throw error;
    if (silence.signal.aborted)
      throw new RetryableError(timeoutCode, `${url.host} did not answer in ${timeoutMs / 1_000} s`, {
        cause: error,
      });
    const cause = namedCause(error);
    const what = cause.startsWith(" (HPE_")
      ? "sends something other than HTTP"
      : "cannot be reached, or closed the connection";
    throw new RetryableError("unreachable", `${url.host} ${what}${cause}`, { cause: error });
  } finally {
    silence.end();
  }
}

/** Codes of errors that come before a request is sent: of the connection, and of the server's certificate. */
const NOT_CONNECTED =
  /^(?:ECONNREFUSED|ETIMEDOUT|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ENETDOWN|EADDRNOTAVAIL|ERR_TLS_.*|.*CERT.*|UNABLE_TO_.*)$/;

/** Whether an error of `send` means that the server got nothing of the request. */
export function wasNotSent(error: unknown): boolean {
  if (error instanceof TerminalError) return error.code === "egress_blocked";
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (!("code" in cause) || !NOT_CONNECTED.test(String(cause.code))) continue;
    // A connection that was open can lose its route too.
    return !("syscall" in cause) || (cause.syscall !== "read" && cause.syscall !== "write");
  }
  return false;
}

/**
 * A signal that aborts when the other side has sent nothing for too long, and with `signal`. `AbortSignal.any` would take longer than all
 * else that limits a call.
 */
class SilenceTimeout {
  readonly #controller = new AbortController();
  readonly #ms: number;
  readonly #outer: AbortSignal;
  readonly #follow = (): void => this.#controller.abort(this.#outer.reason);
  #timer: NodeJS.Timeout | undefined;
  #isOver = false;

  constructor(ms: number, outer: AbortSignal) {
    this.#ms = ms;
    this.#outer = outer;
    outer.addEventListener("abort", this.#follow, { once: true });
    this.begin();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  begin(): void {
    this.pause();
    if (this.#isOver) return;
    this.#timer = setTimeout(() => this.#controller.abort(new Error("no answer in time")), this.#ms);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  /** The exchange is over. Its reader may go on for a moment, without a timer. */
  end(): void {
    this.#isOver = true;
    this.pause();
    this.#outer.removeEventListener("abort", this.#follow);
  }

  /** Waits for work that may ignore the signal, and rejects when the signal aborts. */
  within<Result>(work: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      work.then(resolve, reject);
      const end = (): void => reject(this.signal.reason);
      if (this.signal.aborted) end();
      else this.signal.addEventListener("abort", end, { once: true });
    });
  }

  /** The parts of a body; the signal aborts when a part does not come in time. The time in which the reader uses a part does not count. */
  async *timed(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    this.begin();
    for await (const part of body) {
      this.pause();
      yield part;
      this.begin();
    }
    this.pause();
  }
}

/** Sends a request and reads its response. It rejects when the signal of `silence` aborts, whatever the connection and the reader do. */
async function sendAndRead(
  outbound: OutboundRequest,
  egress: Egress,
  silence: SilenceTimeout,
): Promise<OutboundResponse> {
  const { url, method, headers, body, connections } = outbound;
  const limit = silence.signal;
  const lookup = egress.lookup(limit);
  const connection = connections
    ? { is: "kept" as const, lookup, connections, mayRepeat: true }
    : { is: "guarded" as const, lookup };
  try {
    const response = await exchange(url, { method, headers, body }, connection, limit);
    try {
      return await silence.within(readResponse(response, outbound, silence));
    } finally {
      response.destroy();
    }
  } catch (error) {
    if (error instanceof ProtocolSwitch) return responseOf(error.response, "");
    throw error;
  }
}

async function readResponse(
  response: http.IncomingMessage,
  { url, maxResponseBytes, sink }: OutboundRequest,
  silence: SilenceTimeout,
): Promise<OutboundResponse> {
  if (maxResponseBytes === "ignored") return responseOf(response, "");
  const isSuccess = statusOf(response) < 300;
  if (sink && isSuccess) {
    const headers = flatHeaders(response.headers);
    const body = decodedStream(response, { isGzipFile: isGzipFile(url, headers) });
    await sink(silence.timed(body), headers);
    return responseOf(response, "");
  }
  try {
    return responseOf(response, await readBody(response, maxResponseBytes));
  } catch (error) {
    // The status of a refusal says enough, even if its body cannot be read.
    if (isSuccess) throw error;
    return responseOf(response, "");
  }
}

function isGzipFile({ pathname }: URL, headers: OutboundResponse["headers"]): boolean {
  const name = dispositionName(headers["content-disposition"] ?? "") ?? pathname;
  return /\.t?gz$/i.test(name) || /^application\/(?:x-)?gzip\b/i.test(headers["content-type"] ?? "");
}

function responseOf(response: http.IncomingMessage, body: string): OutboundResponse {
  return { status: statusOf(response), headers: flatHeaders(response.headers), body };
}

function statusOf({ statusCode }: http.IncomingMessage): number {
  return statusCode ?? 0;
}

function flatHeaders(headers: http.IncomingHttpHeaders): Record<string, string> {
  const flat: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) flat[name] = String(value);
  }
  return flat;
}
