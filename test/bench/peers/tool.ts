/** The server that steps call, and the call of a peer's step. */
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import { portOf } from "../../../worker-node/ops/health-server.ts";
import { stepKey } from "./peer.ts";

/**
 * Starts a server that responds at once and counts the calls of each step by the header `Idempotency-Key`. It is a witness
 * outside of every participant: a step that was executed twice called it twice.
 */
export async function startTool() {
  const called = new Map<string, number>();
  const server = createServer((incoming, response) => {
    const key = stepOf(incoming.headers["idempotency-key"]);
    called.set(key, (called.get(key) ?? 0) + 1);
    response.end("{}");
  }).listen(0, "127.0.0.1");
  server.keepAliveTimeout = 60_000;
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${portOf(server)}/`,
    called,
    stop(): void {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** Peers send the key of the step; our worker sends the effect key `run:step:visit:call`. */
function stepOf(header: string | string[] | undefined): string {
  const key = String(header);
  const [run = "", step = ""] = key.split(":");
  return step === "" ? key : `${run}/${step}`;
}

const agent = new Agent({ keepAlive: true, maxSockets: 200 });

/** The call of a peer's step. */
export async function callTool(url: string, id: string, step: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  request(url, { agent, headers: { "idempotency-key": stepKey(id, step) } }, (response) => {
    response.resume();
    response.once("end", () =>
      response.statusCode === 200
        ? resolve()
        : reject(new Error(`the tool's server answered ${response.statusCode}`)),
    );
    response.once("error", reject);
  })
    .once("error", reject)
    .end();
  return promise;
}
