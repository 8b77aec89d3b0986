/** A TCP proxy between two parts of the system, which a schedule can cut, stop, slow down or deafen. */
import { once } from "node:events";
import { connect, createServer } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * `cut`: connections are reset and none is accepted. `hang`: they stay, and nothing passes until it is open again.
 * `deaf`: what is asked arrives, its answers are lost, and the connection with them. `slow`: each piece waits.
 */
export type LinkMode = "open" | "cut" | "hang" | "deaf" | "slow";

/** Waits for a question with `asked` in it. It is `lost`, or its answer is, if `spring` says so when it sees those bytes. */
export type Trap = { request: string; lost: "question" | "answer"; spring(bytes: Buffer): boolean };

/** What one connection has asked and not been answered yet, as far as a trap waits for the answer. */
type Exchange = { awaited: Trap[] };

const SLOW_MS = 120;

export class Link {
  readonly name: string;
  /** Whoever springs one sees to it that the connection does not live on: it lacks a piece. */
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
    // Answers were lost on them: nothing that comes later may be taken for one.
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
    const talk: Exchange = { awaited: [] };
    void this.#carry(near, far, talk, true);
    void this.#carry(far, near, talk, false);
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }

  #isCaught(talk: Exchange, bytes: Buffer, asking: boolean): boolean {
    const due = asking ? this.traps.filter(({ request: asked }) => bytes.includes(asked)) : talk.awaited;
    if (due.length > 0) talk.awaited = asking ? due.filter(({ lost }) => lost === "answer") : [];
    return due.some(({ lost, spring }) => (lost === "question") === asking && spring(bytes));
  }

  async #carry(from: Socket, to: Socket, talk: Exchange, asking: boolean): Promise<void> {
    try {
      for await (const bytes of from) {
        if (this.#mode === "slow") await sleep(SLOW_MS);
        while (this.#mode === "hang") await this.#opened.promise;
        if (this.#mode === "deaf" && !asking) continue;
        if (this.#isCaught(talk, bytes, asking)) continue;
        if (!to.write(bytes)) await once(to, "drain");
      }
      to.end();
    } catch {
      // Either end has gone: `close` ends the other.
      to.destroy();
    }
  }
}
