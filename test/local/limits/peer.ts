/** A server for the tool calls and webhooks of floods. It counts its open requests, also when a killed worker has cut some of them off. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { slowPeer } from "../../services/waiting.ts";

/** The requests of one path: how many are open, the most that were at one time, and when each arrived, in the milliseconds of `performance.now()`. */
export type Requests = { open: number; most: number; arrivalsMs: number[] };

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
      response.setHeader("content-type", "application/json");
      request.resume().once("end", () => {
        void slowPeer(Number(url.searchParams.get("ms"))).then(() => response.end(`{"ok":true}`));
      });
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
