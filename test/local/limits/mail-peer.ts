/** The mail server of floods. A mail is open from its sender's address until the server takes it, or its connection closes. */
import { once } from "node:events";
import net from "node:net";
import { createInterface } from "node:readline";
import { slowPeer, until } from "../../services/waiting.ts";
import type { Requests } from "./peer.ts";

export class MailPeer {
  readonly mails: Requests = { open: 0, most: 0, arrivalsMs: [] };
  /** How long the server takes for a mail, and how many it has had at once before it takes the first. */
  hold = { ms: 0, together: 0 };
  readonly #sockets = new Set<net.Socket>();
  readonly #server = net.createServer((socket) => this.#serve(socket));

  static async start(): Promise<MailPeer> {
    const peer = new MailPeer();
    peer.#server.listen(0, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the mail server does not listen");
    return `smtp://user:sesame@127.0.0.1:${address.port}`;
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #serve(socket: net.Socket): void {
    const { mails } = this;
    let isOpen = false;
    let isData = false;
    const close = (): void => {
      if (isOpen) mails.open -= 1;
      isOpen = false;
    };
    const say = (line: string): void => void socket.write(`${line}\r\n`);
    const take = async (): Promise<void> => {
      isData = false;
      const { ms, together } = this.hold;
      await until(`${together} mails are open`, () => mails.most >= together);
      await slowPeer(ms);
      close();
      say("250 queued");
    };
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#sockets.delete(socket);
      close();
    });
    say("220 ready");
    createInterface({ input: socket }).on("line", (line) => {
      if (isData) return void (line === "." && take());
      if (line.startsWith("MAIL")) {
        isOpen = true;
        mails.open += 1;
        mails.most = Math.max(mails.most, mails.open);
        mails.arrivalsMs.push(performance.now());
      }
      isData = line === "DATA";
      say(isData ? "354 go on" : line === "QUIT" ? "221 bye" : line.startsWith("AUTH") ? "235 ok" : "250 ok");
    });
  }
}
