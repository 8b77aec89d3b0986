import http from "node:http";
import https from "node:https";
import { RetryableError, TerminalError } from "../engine/errors.ts";
import type { Egress } from "./egress-guard.ts";

export type Outgoing = {
  url: URL;
  method: string;
  headers: Readonly<Record<string, string>>;
  body: string | null;
  /** For the whole exchange. */
  timeoutMs: number;
  /** The code of the error that says that this limit was reached. */
  timeoutCode: string;
  /** Of the answer's body, which fails the exchange beyond them; `ignored`: the exchange ends with the headers. */
  answerBytes: number | "ignored";
  signal: AbortSignal;
};

export type Incoming = { status: number; headers: Readonly<Record<string, string>>; body: string };

/**
 * One HTTP exchange with the outside, through the guard. Redirects are not followed: they are answers. So is a switch
 * to another protocol, which goes no further.
 *
 * Fails with `egress_blocked`, `answer_too_large`, or (to be tried again) `unreachable` and `timeoutCode`; an abort of
 * `signal` throws its reason. No error quotes the request: its headers hold secrets.
 */
export async function send(outgoing: Outgoing, egress: Egress): Promise<Incoming> {
  const { url, timeoutMs, timeoutCode, signal } = outgoing;
  egress.check(url);
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    return await exchange(outgoing, egress, AbortSignal.any([signal, timeout]));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof TerminalError) throw error;
    if (timeout.aborted)
      throw new RetryableError(timeoutCode, `${url.host} did not answer in ${timeoutMs / 1_000} s`, {
        cause: error,
      });
    throw new RetryableError("unreachable", `${url.host} cannot be reached, or broke off`, { cause: error });
  }
}

/** Ends when `limit` does, whatever the request says: there are ends that Node tells nobody of. */
async function exchange(outgoing: Outgoing, egress: Egress, limit: AbortSignal): Promise<Incoming> {
  const { url, method, headers, body, answerBytes } = outgoing;
  limit.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Incoming>();
  const end = (): void => reject(limit.reason);
  limit.addEventListener("abort", end, { once: true });
  const open = url.protocol === "https:" ? https.request : http.request;
  // No shared agent: each exchange makes its connection anew and so asks the guard anew.
  const request = open(url, { method, headers: { ...headers }, lookup: egress.lookup(limit), agent: false });
  const closed = (): void => reject(new Error("the connection was closed without an answer"));
  request.on("error", reject);
  request.once("close", closed);
  request.once("upgrade", (response, socket) => {
    resolve(incoming(response, ""));
    socket.destroy();
  });
  request.once("response", (response) => {
    // It may close while there is still something to be read.
    request.off("close", closed);
    if (answerBytes === "ignored") resolve(incoming(response, ""));
    else readBody(response, answerBytes).then((text) => resolve(incoming(response, text)), reject);
  });
  request.end(body ?? undefined);
  try {
    return await promise;
  } finally {
    limit.removeEventListener("abort", end);
    request.destroy();
  }
}

async function readBody(response: http.IncomingMessage, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    const part: Uint8Array = chunk;
    bytes += part.byteLength;
    if (bytes > maxBytes)
      throw new TerminalError("answer_too_large", `the answer is larger than ${maxBytes} bytes`);
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function incoming({ statusCode, headers }: http.IncomingMessage, body: string): Incoming {
  return { status: statusCode ?? 0, headers: flat(headers), body };
}

function flat(headers: http.IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
