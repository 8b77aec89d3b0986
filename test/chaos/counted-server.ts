/** An HTTP server that counts, under each key (a header: `Idempotency-Key` if nothing else is said), how it has answered. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { finished } from "node:stream/promises";

/** How calls under one key went: `answered` and `refused` were read to their end by the caller, `cut` were not. */
export type Calls = { answered: number; refused: number; cut: number };

export type Counted = {
  port: number;
  /** Key → calls; what came without one is under the empty key. */
  calls: Map<string, Calls>;
  /** From now on it is as reliable as a model in a brochure. */
  calm(): void;
  close(): Promise<void>;
};

/** `answer` says what it has done: `answered`, `refused` or `cut`. */
type Answer = (
  request: { key: string; calm: boolean; headers: IncomingHttpHeaders },
  body: string,
  response: ServerResponse,
) => Promise<string> | string;

export async function serveCounted(answer: Answer, keyHeader = "idempotency-key"): Promise<Counted> {
  const calls = new Map<string, Calls>();
  let calm = false;
  const server = createServer((request, response) => {
    const key = String(request.headers[keyHeader] ?? "");
    const count = calls.get(key) ?? { answered: 0, refused: 0, cut: 0 };
    calls.set(key, count);
    void serve(request, response, key).then((how) => {
      if (how === "answered" || how === "refused") count[how] += 1;
      else count.cut += 1;
    });
  });
  const serve = async (request: IncomingMessage, response: ServerResponse, key: string): Promise<string> => {
    try {
      const read = finished(response, { signal: AbortSignal.timeout(60_000) });
      read.catch(() => {}); // it is awaited below, when the answer is through
      const how = await answer({ key, calm, headers: request.headers }, await bodyOf(request), response);
      await read;
      return how;
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

async function bodyOf(request: IncomingMessage): Promise<string> {
  request.setEncoding("utf8");
  let body = "";
  for await (const text of request) body += String(text);
  return body;
}
