/** A TCP proxy whose far end a test can take away: a store that refuses, or one that does not answer. */
import { createServer, connect, type Socket } from "node:net";

export class Proxy {
  readonly #server;
  readonly #sockets = new Set<Socket>();
  #mode: "open" | "refuse" | "hang" = "open";
  #port: number;

  constructor(port: number, host = "127.0.0.1") {
    this.#port = port;
    this.#server = createServer((near) => {
      this.#keep(near);
      if (this.#mode === "refuse") return near.destroy();
      if (this.#mode === "hang") return;
      const far = connect(this.#port, host);
      this.#keep(far);
      near.pipe(far).pipe(near);
      near.on("close", () => far.destroy());
      far.on("close", () => near.destroy());
    });
  }

  async listen(at = 0): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(at, "127.0.0.1", resolve));
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the proxy listens on no port");
    return address.port;
  }

  /** `refuse`: connections are cut; `hang`: those that are there stay and nothing passes. */
  set(mode: "open" | "refuse" | "hang"): void {
    this.#mode = mode;
    if (mode === "hang") this.silence();
    else for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing passes any more over the connections that there are; new ones are open. */
  silence(): void {
    for (const socket of this.#sockets) socket.unpipe().pause();
  }

  /** New connections lead there. */
  lead(port: number): void {
    this.#port = port;
  }

  get connections(): number {
    return this.#sockets.size / 2;
  }

  async close(): Promise<void> {
    this.set("refuse");
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
  }
}
