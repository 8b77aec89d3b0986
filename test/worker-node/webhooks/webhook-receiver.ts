/** A receiver of webhooks: an HTTP server on this machine that keeps the requests it gets. */
import { createServer } from "node:http";
import type { IncomingHttpHeaders, Server, ServerResponse } from "node:http";
import { expect, vi } from "vitest";
import { portOf } from "../../../worker-node/ops/health-server.ts";

export type ReceivedRequest = { headers: Record<string, string>; body: string };

export class WebhookReceiver {
  readonly requests: ReceivedRequest[] = [];
  /** Requests whose response has not ended. */
  open = 0;
  maxOpen = 0;
  /** Responds to a request; with 200 unless a test replaces it. */
  respond: (response: ServerResponse, request: ReceivedRequest) => void = (response) =>
    response.end("thanks");
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.maxOpen = Math.max(this.maxOpen, ++this.open);
      response.once("close", () => (this.open -= 1));
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        const received = { headers: flatHeaders(request.headers), body };
        this.requests.push(received);
        this.respond(response, received);
      });
    });
  }

  static async listen(): Promise<WebhookReceiver> {
    const receiver = new WebhookReceiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  /** @param host a name or an address of this machine */
  url(host = "127.0.0.1"): string {
    return `http://${host}:${portOf(this.#server)}/hook?token=t`;
  }

  /** Waits for `n` requests and returns the first `n`. */
  async waitForRequests(n: number, ms = 60_000): Promise<ReceivedRequest[]> {
    const enough = () => expect(this.requests.length).toBeGreaterThanOrEqual(n);
    await vi.waitFor(enough, { timeout: ms, interval: 20 });
    return this.requests.slice(0, n);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function flatHeaders(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
