/** A server for the tool calls and webhooks of floods. It counts its open requests, also when a killed worker has cut some of them off. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { slowPeer } from "../../services/waiting.ts";

/** The requests of one path: how many are open, the most that were at one time, and when each arrived, in the milliseconds of `performance.now()`. */
export type Requests = { open: number; most: number; arrivalsMs: number[] };

/** Where the peer answers as a provider of models whose API is that of OpenAI, after `MODEL_MS`. */
export const MODEL_PATH = "/v1/chat/completions";
const MODEL_MS = 300;
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
      const url = new URL(request.url ?? "/", "http://peer");
      const requests = this.requestsOf(url.pathname);
      requests.arrivalsMs.push(performance.now());
      requests.open += 1;
      requests.most = Math.max(requests.most, requests.open);
      response.once("close", () => (requests.open -= 1));
      const isModel = url.pathname === MODEL_PATH;
      response.setHeader("content-type", isModel ? "text/event-stream" : "application/json");
      const body = isModel ? ANSWER.map((data) => `data: ${data}\n\n`).join("") : `{"ok":true}`;
      const ms = isModel ? MODEL_MS : Number(url.searchParams.get("ms"));
      request.resume().once("end", () => void slowPeer(ms).then(() => response.end(body)));
    });
  }

  static async start(): Promise<Peer> {
    const peer = new Peer();
    peer.#server.listen(0, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  requestsOf(path: string): Requests {
    const requests = this.#requests.get(path) ?? { open: 0, most: 0, arrivalsMs: [] };
    this.#requests.set(path, requests);
    return requests;
  }

  /** The base URL of the provider. */
  get modelsUrl(): string {
    return new URL("/v1", this.url("/", 0)).href;
  }

  /** The address of a path whose responses take `ms`. */
  url(path: string, ms: number): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the peer does not listen");
    const { port }: AddressInfo = address;
    return `http://127.0.0.1:${port}${path}?ms=${ms}`;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
