/**
 * A server for the tool calls, model calls and webhooks of floods. It counts its open requests, also when a killed worker has cut some
 * of them off.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { json } from "node:stream/consumers";
import { z } from "zod";
import { slowPeer, until } from "../../services/waiting.ts";

/**
 * The requests of one path or to one model: how many are open, the most that were at one time, and when each arrived, in the
 * milliseconds of `performance.now()`.
 */
export type Requests = { open: number; most: number; arrivalsMs: number[] };

/** Where the peer answers as a provider of models whose API is that of OpenAI, after `MODEL_MS`. */
const MODEL_PATH = "/v1/chat/completions";
const MODEL_MS = 300;
const ModelCall = z.object({ model: z.string() });
const ANSWER = [
  `{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"."}}]}`,
  `{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
  "[DONE]",
];

export class Peer {
  readonly #server: Server;
  readonly #requests = new Map<string, Requests>();

  private constructor() {
    this.#server = createServer((request, response) => {
      // The request fails when its worker is killed while it sends.
      this.#serve(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<Peer> {
    const peer = new Peer();
    peer.#server.listen(0, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  /** @param name a path, or a model without its provider */
  requestsOf(name: string): Requests {
    const requests = this.#requests.get(name) ?? { open: 0, most: 0, arrivalsMs: [] };
    this.#requests.set(name, requests);
    return requests;
  }

  /** Counts `most` anew. */
  forgetMost(name: string): void {
    const requests = this.requestsOf(name);
    requests.most = requests.open;
  }

  /** The base URL of the provider. */
  get modelsUrl(): string {
    return new URL("/v1", this.url("/", 0)).href;
  }

  /**
   * The address of a path whose responses take `ms`.
   * @param together no response comes before `most` of the path is this many
   */
  url(path: string, ms: number, together = 0): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the peer does not listen");
    const { port }: AddressInfo = address;
    return `http://127.0.0.1:${port}${path}?ms=${ms}&together=${together}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://peer");
    if (pathname === MODEL_PATH) {
      const { model } = ModelCall.parse(await json(request));
      this.#count(this.requestsOf(model), response);
      await slowPeer(MODEL_MS);
      response.setHeader("content-type", "text/event-stream");
      response.end(ANSWER.map((data) => `data: ${data}\n\n`).join(""));
      return;
    }
    const requests = this.requestsOf(pathname);
    this.#count(requests, response);
    request.resume();
    const together = Number(searchParams.get("together"));
    await until(`${together} requests are open`, () => requests.most >= together);
    await slowPeer(Number(searchParams.get("ms")));
    response.setHeader("content-type", "application/json");
    response.end(`{"ok":true}`);
  }

  #count(requests: Requests, response: ServerResponse): void {
    requests.arrivalsMs.push(performance.now());
    requests.open += 1;
    requests.most = Math.max(requests.most, requests.open);
    response.once("close", () => (requests.open -= 1));
  }
}
