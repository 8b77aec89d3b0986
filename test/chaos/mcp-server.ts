/** An MCP server of the official package. It counts its calls by effect key, refuses some, and a fault restarts it. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { finished } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { McpServer, createMcpHandler } from "@modelcontextprotocol/server";
import { z } from "zod";
import { freePort } from "../../local/processes/free-ports.ts";
import type { Calls } from "./counted-server.ts";
import type { Random } from "./random.ts";

const Meta = z.looseObject({ "synapse-edge/idempotency-key": z.string() });
const Message = z.looseObject({ params: z.looseObject({ _meta: z.unknown() }).optional() });

export class ChaosMcpServer {
  readonly port: number;
  readonly calls = new Map<string, Calls>();
  readonly #random: Random;
  readonly #handler = createMcpHandler(() => this.#tools());
  #server = this.#create();
  #isCalm = false;

  private constructor(port: number, random: Random) {
    this.port = port;
    this.#random = random;
  }

  static async start(random: Random): Promise<ChaosMcpServer> {
    const server = new ChaosMcpServer(await freePort(0), random);
    await server.#listen();
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}/mcp`;
  }

  /** From now on the server neither fails nor delays. */
  calm(): void {
    this.#isCalm = true;
  }

  /** Breaks the server's connections, and starts it again after `downMs`. */
  async restart(downMs: number): Promise<void> {
    await this.close();
    await sleep(downMs);
    this.#server = this.#create();
    await this.#listen();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #create() {
    return createServer((request, response) => {
      void this.#serve(request, response).catch(() => response.destroy());
    });
  }

  async #listen(): Promise<void> {
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  #tools(): McpServer {
    const server = new McpServer({ name: "notes", version: "1" });
    const inputSchema = z.object({ text: z.string() });
    server.registerTool("note", { description: "Notes a text down.", inputSchema }, async () => {
      if (!this.#isCalm) await sleep(this.#random.between(5, 400));
      return { content: [{ type: "text", text: "noted" }] };
    });
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    const key = keyOf(body);
    const count = key === null ? null : (this.calls.get(key) ?? { answered: 0, refused: 0, cut: 0 });
    if (key !== null && count) this.calls.set(key, count);
    try {
      const headers = new Headers(
        Object.entries(request.headers).map(([name, value]) => [name, String(value)]),
      );
      const method = request.method ?? "GET";
      const answer = await this.#handler.fetch(
        new Request(this.url, { method, headers, ...(body !== "" && { body }) }),
      );
      response.writeHead(answer.status, Object.fromEntries(answer.headers));
      response.flushHeaders();
      for await (const chunk of answer.body ?? []) response.write(chunk);
      response.end();
      await finished(response);
      if (count) count.answered += 1;
    } catch (error) {
      if (count) count.cut += 1;
      throw error;
    }
  }
}

/** The effect key of a call; null for other messages. */
function keyOf(body: string): string | null {
  if (body === "") return null;
  const message = Message.safeParse(JSON.parse(body));
  const meta = Meta.safeParse(message.data?.params?._meta);
  return meta.success ? meta.data["synapse-edge/idempotency-key"] : null;
}
