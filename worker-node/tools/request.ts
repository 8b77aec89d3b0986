import http from "node:http";
import https from "node:https";
import { RetryableError, TerminalError } from "../engine/errors.ts";
import type { Egress } from "./egress.ts";

export type Outgoing = {
  url: URL;
  method: string;
  headers: Readonly<Record<string, string>>;
  body: string | null;
  /** For the whole exchange. */
  timeoutMs: number;
  /** The code of the error that says that this limit was reached. */
  timeoutCode: string;
  /** Of the answer's body; what comes beyond them fails the exchange, or is not read. */
  maxBytes: number;
  excess: "fails" | "is dropped";
  signal: AbortSignal;
};

export type Incoming = { status: number; headers: Readonly<Record<string, string>>; body: string };

/**
 * One HTTP exchange with the outside, through the guard. Redirects are not followed: they are answers.
 *
 * Fails with `egress_blocked`, `answer_too_large`, or (to be tried again) `unreachable` and `timeoutCode`; an abort of
 * `signal` throws its reason. No error quotes the request: its headers hold secrets.
 */
export function send(outgoing: Outgoing, egress: Egress): Promise<Incoming> {
  const { url, method, headers, body, timeoutMs, timeoutCode, signal } = outgoing;
  return new Promise((resolve, reject) => {
    egress.check(url.hostname);
    const timeout = AbortSignal.timeout(timeoutMs);
    const both = AbortSignal.any([signal, timeout]);
    const open = url.protocol === "https:" ? https.request : http.request;
    // No shared agent: each exchange makes its connection anew and so asks the guard anew.
    const request = open(url, {
      method,
      headers: { ...headers },
      lookup: egress.lookup,
      signal: both,
      agent: false,
    });
    const fail = (error: unknown): void => {
      request.destroy();
      if (signal.aborted) reject(signal.reason);
      else if (error instanceof TerminalError) reject(error);
      else if (timeout.aborted)
        reject(new RetryableError(timeoutCode, `${url.host} did not answer in ${timeoutMs / 1_000} s`));
      else
        reject(
          new RetryableError("unreachable", `${url.host} cannot be reached, or broke off`, { cause: error }),
        );
    };
    request.once("error", fail);
    request.once("response", (response) => {
      readBody(response, outgoing).then(
        (text) => resolve({ status: response.statusCode ?? 0, headers: flat(response.headers), body: text }),
        fail,
      );
    });
    request.end(body ?? undefined);
  });
}

async function readBody(
  response: http.IncomingMessage,
  { maxBytes, excess }: Pick<Outgoing, "maxBytes" | "excess">,
): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    const part: Uint8Array = chunk;
    bytes += part.byteLength;
    if (bytes > maxBytes && excess === "is dropped") break;
    if (bytes > maxBytes)
      throw new TerminalError("answer_too_large", `the answer is larger than ${maxBytes} bytes`);
    chunks.push(part);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function flat(headers: http.IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name, String(value)]])),
  );
}
