/** A TCP proxy between two parts of the system, with which a fault cuts, stops or delays what passes. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * `cut`: connections are reset and none is accepted. `hang`: they stay, and nothing passes until it is open again.
 * `deaf`: requests arrive, their responses are lost, and the connection ends afterwards. `slow`: each piece is delayed.
 */
export type LinkMode = "open" | "cut" | "hang" | "deaf" | "slow";

/** Waits for bytes that contain `request`. If `spring` returns true for them (or for their response), those bytes are lost. */
export type Trap = { request: string; lost: "request" | "response"; spring(bytes: Buffer): boolean };

/** The traps that wait for the response to the last request of one connection. */
type Exchange = { awaited: Trap[] };

const SLOW_MS = 120;

export class Link {
  readonly name: string;
  /** A sprung trap leaves a connection that lacks bytes: `spring` has to make sure that it ends. */
  readonly traps: Trap[] = [];
  readonly #port: number;
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #mode: LinkMode = "open";
  #opened = Promise.withResolvers<void>();

  /** @param port of the far end, on this machine. */
  constructor(name: string, port: number) {
    this.name = name;
    this.#port = port;
    this.#server = createServer((near) => this.#join(near));
  }

  /** @returns the port of the near end. */
  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const address = this.#server.address();
    if (typeof address !== "object" || address === null) throw new Error(`${this.name} has no port`);
    return address.port;
  }

  get mode(): LinkMode {
    return this.#mode;
  }

  set(mode: LinkMode): void {
    // Responses were lost on these connections: later bytes must not be taken for them.
    if (mode === "cut" || this.#mode === "deaf") for (const socket of this.#sockets) socket.destroy();
    this.#mode = mode;
    this.#opened.resolve();
    this.#opened = Promise.withResolvers<void>();
  }

  async close(): Promise<void> {
    this.set("cut");
    this.#server.close();
    await once(this.#server, "close");
  }

  #join(near: Socket): void {
    this.#keep(near);
    if (this.#mode === "cut") {
      near.destroy();
      return;
    }
    const far = connect(this.#port, "127.0.0.1");
    this.#keep(far);
    near.on("close", () => far.destroy());
    far.on("close", () => near.destroy());
    const exchange: Exchange = { awaited: [] };
    void this.#carry(near, far, exchange, true);
    void this.#carry(far, near, exchange, false);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  #isCaught(exchange: Exchange, bytes: Buffer, isRequest: boolean): boolean {
    const due = isRequest ? this.traps.filter(({ request }) => bytes.includes(request)) : exchange.awaited;
    if (due.length > 0) exchange.awaited = isRequest ? due.filter(({ lost }) => lost === "response") : [];
    return due.some(({ lost, spring }) => (lost === "request") === isRequest && spring(bytes));
  }

  async #carry(from: Socket, to: Socket, exchange: Exchange, isRequest: boolean): Promise<void> {
    try {
      for await (const bytes of from) {
        if (this.#mode === "slow") await sleep(SLOW_MS);
        while (this.#mode === "hang") await this.#opened.promise;
        if (this.#mode === "deaf" && !isRequest) continue;
        if (this.#isCaught(exchange, bytes, isRequest)) continue;
        if (!to.write(bytes)) await once(to, "drain");
      }
      to.end();
    } catch {
      // One end has closed: `close` ends the other.
      to.destroy();
    }
  }
}
