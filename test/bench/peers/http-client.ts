import type { Socket } from "node:net";
import { connected, isWhole } from "../load.ts";

/**
 * Requests over kept connections, one in flight on each, at the cost of the load generator of `npm run bench`. It is the
 * client of our edge, of Restate's ingress and of a DBOS application: `fetch` would cost more than some of these servers.
 */
export class HttpClient {
  readonly #port: number;
  #idle: Socket[] = [];
  readonly #all = new Set<Socket>();

  constructor(port: number) {
    this.#port = port;
  }

  /** @returns the body of the response. @throws Error when its status is another one */
  async send(request: Buffer, status: number): Promise<string> {
    const socket = this.#idle.pop() ?? (await this.#connect());
    const answer = await exchange(socket, request);
    if (!socket.destroyed) this.#idle.push(socket);
    if (!answer.startsWith(`HTTP/1.1 ${status} `)) throw new Error(`answered: ${answer}`);
    return answer.slice(answer.indexOf("\r\n\r\n") + 4);
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  async #connect(): Promise<Socket> {
    const socket = await connected(this.#port);
    // A connection is idle while other work is measured, and a server may close it then.
    socket.setTimeout(0);
    this.#all.add(socket);
    socket.once("close", () => {
      this.#all.delete(socket);
      this.#idle = this.#idle.filter((idle) => idle !== socket);
    });
    return socket;
  }
}

async function exchange(socket: Socket, request: Buffer): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let answer = "";
  const onData = (bytes: Buffer): void => {
    answer += bytes.toString("latin1");
    if (isWhole(answer)) resolve(answer);
  };
  const onClose = (): void => reject(new Error(`the connection was closed; so far: ${answer}`));
  socket.on("data", onData).once("close", onClose).once("error", reject);
  socket.write(request);
  try {
    return await promise;
  } finally {
    socket.off("data", onData).off("close", onClose).off("error", reject);
  }
}
