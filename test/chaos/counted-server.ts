/** An HTTP server that counts its responses by key: by the header `Idempotency-Key`, or by another one. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { finished } from "node:stream/promises";

/**
 * Responses to the calls of one key. The caller has read those that are `answered` or `refused` to the end. After one that was `cut`, or
 * that says that the server has failed, the caller does not know whether the call was carried out.
 */
export type Calls = { answered: number; refused: number; cut: number };

export type Counted = {
  port: number;
  /** Key → calls; calls without a key are under the empty key. */
  calls: Map<string, Calls>;
  /** From now on the server neither fails nor delays. */
  calm(): void;
  close(): Promise<void>;
};

/** Responds to one call. @returns what it did: `answered`, `refused` or `cut`. */
type Respond = (
  request: { key: string; calm: boolean; headers: IncomingHttpHeaders },
  body: string,
  response: ServerResponse,
) => Promise<string> | string;

export async function serveCounted(respond: Respond, keyHeader = "idempotency-key"): Promise<Counted> {
  const calls = new Map<string, Calls>();
  let calm = false;
  const server = createServer((request, response) => {
    const key = String(request.headers[keyHeader] ?? "");
    const count = calls.get(key) ?? { answered: 0, refused: 0, cut: 0 };
    calls.set(key, count);
    void serve(request, response, key).then((result) => {
      if (result === "answered" || result === "refused") count[result] += 1;
      else count.cut += 1;
    });
  });
  const serve = async (request: IncomingMessage, response: ServerResponse, key: string): Promise<string> => {
    try {
      const read = finished(response, { signal: AbortSignal.timeout(60_000) });
      read.catch(() => {}); // it is awaited below, after the response
      const result = await respond({ key, calm, headers: request.headers }, await text(request), response);
      await read;
      return result;
    } catch {
      response.destroy();
      return "cut";
    }
  };
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    calls,
    calm: () => {
      calm = true;
    },
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}
