/** A mail server whose replies a test decides. */
import net from "node:net";
import { createInterface } from "node:readline";
import { z } from "zod";

export class MailServer {
  /** The reply to a command or a whole line, `drop`, which closes the connection, or `silence`. `dot`: the end of the message. */
  replies: { [command: string]: string } = {};
  /** The commands and lines that it has received, without those of the message. */
  readonly received: string[] = [];
  /** The messages that it has received whole. */
  readonly messages: string[] = [];
  readonly #server = net.createServer((socket) => this.#serve(socket));

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
  }

  get url(): string {
    const { port } = z.object({ port: z.number() }).parse(this.#server.address());
    return `smtp://user:sesame@127.0.0.1:${port}`;
  }

  reset(): void {
    this.replies = {};
    this.received.length = 0;
    this.messages.length = 0;
  }

  stop(): void {
    this.#server.close();
  }

  #serve(socket: net.Socket): void {
    socket.on("error", () => {});
    const answer = (command: string, otherwise: string, line = ""): void => {
      const reply = this.replies[line] ?? this.replies[command] ?? otherwise;
      if (reply === "drop") socket.destroy();
      else if (reply !== "silence") socket.write(`${reply}\r\n`);
    };
    let message: string[] | null = null;
    answer("greeting", "220 ready");
    const lines = createInterface({ input: socket });
    // It reports the errors of its socket too.
    lines.on("error", () => {});
    lines.on("line", (line) => {
      if (message === null) {
        this.received.push(line);
        const command = line.split(/[ :]/)[0]?.toUpperCase() ?? "";
        answer(command, command === "DATA" ? "354 go on" : command === "QUIT" ? "221 bye" : "250 ok", line);
        if (command === "DATA" && this.replies["DATA"] === undefined) message = [];
      } else if (line === ".") {
        this.messages.push(message.join("\n"));
        message = null;
        answer("dot", "250 queued");
      } else message.push(line);
    });
  }
}
