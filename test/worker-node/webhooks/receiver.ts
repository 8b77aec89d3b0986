/** A receiver of webhooks: a real HTTP server on this machine that keeps what it gets. */
import { createServer } from "node:http";
import type { IncomingHttpHeaders, Server, ServerResponse } from "node:http";
import { expect, vi } from "vitest";
import { portOf } from "../../../worker-node/ops/health.ts";

export type Got = { headers: Record<string, string>; body: string; atMs: number };

export class Receiver {
  readonly got: Got[] = [];
  /** Requests that have no answer yet. */
  open = 0;
  mostOpen = 0;
  /** What it answers; it is 200 unless a test says otherwise. */
  answer: (response: ServerResponse, got: Got) => void = (response) => response.end("thanks");
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.mostOpen = Math.max(this.mostOpen, ++this.open);
      response.once("close", () => (this.open -= 1));
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        const got = { headers: flat(request.headers), body, atMs: performance.now() };
        this.got.push(got);
        this.answer(response, got);
      });
    });
  }

  static async listen(): Promise<Receiver> {
    const receiver = new Receiver();
    await new Promise<void>((resolve) => receiver.#server.listen(0, "127.0.0.1", resolve));
    return receiver;
  }

  /** Its address, by the name or the number of this machine. */
  url(host = "127.0.0.1"): string {
    return `http://${host}:${portOf(this.#server)}/hook?token=t`;
  }

  /** The first `n` requests, once they are there. */
  async until(n: number, ms = 60_000): Promise<Got[]> {
    const enough = () => expect(this.got.length).toBeGreaterThanOrEqual(n);
    await vi.waitFor(enough, { timeout: ms, interval: 20 });
    return this.got.slice(0, n);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]));
}
