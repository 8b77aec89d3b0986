/** A TCP proxy to a store. A test can make the store refuse connections or stop replying. */
import { createServer, connect, type Socket } from "node:net";
import { Transform } from "node:stream";
import { slowPeer } from "../services/waiting.ts";

export class Proxy {
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #mode: "open" | "refuse" | "hang" = "open";
  #target: number;
  /** How much later the store's bytes arrive. */
  delayMs = 0;
  /** 0: any free port. */
  #port = 0;

  constructor(port: number, host = "127.0.0.1") {
    this.#target = port;
    this.#server = createServer((near) => {
      this.#keep(near);
      if (this.#mode === "refuse") return near.destroy();
      if (this.#mode === "hang") return;
      const far = connect(this.#target, host);
      this.#keep(far);
      near.pipe(far);
      far.pipe(this.#delay()).pipe(near);
      near.on("close", () => far.destroy());
      far.on("close", () => near.destroy());
    });
  }

  /** Opens the port. After `close` it opens the same port. */
  async listen(): Promise<number> {
    if (this.#server.listening) return this.#port;
    await new Promise<void>((resolve) => this.#server.listen(this.#port, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy listens on no port");
    return (this.#port = address.port);
  }

  /** `refuse`: connections are closed. `hang`: existing connections stay open, and no byte passes. */
  set(mode: "open" | "refuse" | "hang"): void {
    this.#mode = mode;
    if (mode === "hang") this.silence();
    else for (const socket of this.#sockets) socket.destroy();
  }

  /** No byte passes over existing connections any more; new ones work. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** Connects new connections to another port. */
  lead(port: number): void {
    this.#target = port;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Closes the port, as the port of a killed server is. */
  async close(): Promise<void> {
    this.set("refuse");
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #delay(): Transform {
    return new Transform({
      transform: (chunk, _encoding, pass) => {
        if (this.delayMs === 0) pass(null, chunk);
        else void slowPeer(this.delayMs).then(() => pass(null, chunk));
      },
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }
}
